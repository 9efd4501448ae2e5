"""Loading, saving and feeding checkpoints: everything that fixes what a model sees."""
