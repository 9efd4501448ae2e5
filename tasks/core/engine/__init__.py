"""Answer generation behind one interface: vLLM, and transformers as the reference and the way out."""
