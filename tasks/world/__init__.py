"""The frozen stage that makes the mini base model and teacher."""
