"""Text: the think and answer tags of answers, and the tokens that no text may spell."""

from tasks.core.text.tags import answer_of, is_well_formed, think_of
from tasks.core.text.visual import spelled

__all__ = ["answer_of", "is_well_formed", "spelled", "think_of"]
