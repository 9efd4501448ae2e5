"""Text: think and answer tags of completions, and the control tokens that no question may contain."""

from tasks.core.text.tags import answer_of, behind_opening, is_well_formed, opened_by, think_of
from tasks.core.text.visual import spelled

__all__ = ["answer_of", "behind_opening", "is_well_formed", "opened_by", "spelled", "think_of"]
