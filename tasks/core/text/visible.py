"""Characters that nobody sees and that change no meaning."""

_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u2060\ufeff"))


def visible(text: str) -> str:
    """Text without soft hyphens, zero-width spaces, direction marks and byte order marks."""
    return text if text.isascii() else text.translate(_UNSEEN)
