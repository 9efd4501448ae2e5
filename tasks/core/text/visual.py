"""Control tokens: they stand for pixels or for turns of a chat, and a text that spells one would ask for either."""

import re
from collections.abc import Mapping

VISUAL_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")

_CONTROL_TOKEN = re.compile(r"<[|｜][^\s<>|｜]{1,64}[|｜]>")
"""How Qwen, Llama, Phi, GLM and DeepSeek spell theirs: <|im_end|>, <|eot_id|>, <|end|>, <|user|>, <｜User｜>."""


def spelled(texts: Mapping[str, str]) -> tuple[str, str] | None:
    """Name of the first text that spells a control token, and the reason to refuse it; None when no text does.

    Tokenizers make no difference between a token that is spelled and one that a template put there.
    """
    for name, text in texts.items():
        token = _CONTROL_TOKEN.search(text)
        if token is not None:
            kind = "stands for pixels" if token.group() in VISUAL_TOKENS else "is a control token of chats"
            return name, f"spells {token.group()}, which {kind}"
    return None
