"""Generation of completions behind one interface: vLLM, transformers (the reference), and served models."""
