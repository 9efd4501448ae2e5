"""Text of answers: the think and answer tags."""

from tasks.core.text.tags import answer_of, is_well_formed, think_of

__all__ = ["answer_of", "is_well_formed", "think_of"]
