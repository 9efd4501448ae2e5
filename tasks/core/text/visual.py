"""Control tokens, which stand for pixels or for turns of a chat: no text of a question may contain one."""

import re
from collections.abc import Mapping, Sequence

_CONTROL_TOKEN = re.compile(
    r"<[|｜][^\s<>|｜]{1,64}[|｜]>|<end_of_utterance>|<IMG_CONTEXT>|<fake_token_around_image>|<global-img>"
    r"|<row_\d+_col_\d+>|<(?:start|end)_of_turn>"
)
"""As in Qwen, Llama, Phi, GLM and DeepSeek: <|im_end|>, <|eot_id|>, <|end|>, <|user|>, <｜User｜>; and of InternVL,
SmolVLM and Gemma those that no text would spell by chance."""
_PIXELS = re.compile(r"image|img|video|vision|_col_", re.IGNORECASE)


def spelled(texts: Mapping[str, str], visual: Sequence[str] = ()) -> tuple[str, str] | None:
    """Name of the first text that spells a control token, and the reason to refuse it; None when no text does.

    A tokenizer cannot tell a token in the question's text from one that the chat template put there.

    Args:
        texts: by name.
        visual: the model's own tokens for pixels; some look like ordinary words (`<image>`).
    """
    for name, text in texts.items():
        if (token := next((token for token in visual if token in text), None)) is not None:
            return name, f"spells {token}, which stands for pixels"
        if "<" in text and (match := _CONTROL_TOKEN.search(text)) is not None:
            kind = "stands for pixels" if _PIXELS.search(match.group()) else "is a control token of chats"
            return name, f"spells {match.group()}, which {kind}"
    return None
