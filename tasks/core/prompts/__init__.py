"""One prompt for every stage: annotation, SFT, RL, benchmark and inference."""

from tasks.core.prompts.build import messages, question_text, sft_target, user_text
from tasks.core.prompts.templates import QUESTION_TEMPLATES, TYPE_TEMPLATES

__all__ = ["QUESTION_TEMPLATES", "TYPE_TEMPLATES", "messages", "question_text", "sft_target", "user_text"]
