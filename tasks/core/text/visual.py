"""Visual tokens: they stand for pixels, and a text that spells one would ask for pixels that are not there."""

from collections.abc import Mapping

VISUAL_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")


def spelled(texts: Mapping[str, str]) -> tuple[str, str] | None:
    """Name of the first text that spells a visual token, and the reason to refuse it; None when no text does.

    Tokenizers make no difference between a token that is spelled and one that a template put there.
    """
    for name, text in texts.items():
        for token in VISUAL_TOKENS:
            if token in text:
                return name, f"spells {token}, which stands for pixels"
    return None
