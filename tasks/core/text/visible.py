"""Characters that nobody sees and that change no meaning."""

import re

_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
"""Unicode's Default_Ignorable_Code_Point, without its unassigned ones and marks of music."""


def visible(text: str) -> str:
    """Text without soft hyphens, zero-width spaces and joiners, direction and byte order marks, blank fillers."""
    return text if text.isascii() else _UNSEEN.sub("", text)
