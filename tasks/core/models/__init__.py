"""Loading, saving and feeding Qwen2.5-VL checkpoints: everything that fixes what a model sees."""
