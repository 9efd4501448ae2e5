"""The released vocabulary: Qwen's 151,643 ranks as the package dashscope carries them, its other tokens at their ids.

Source: tokenizer.json of Qwen/Qwen2.5-VL-7B-Instruct has the same ranks and the names below.
"""

from __future__ import annotations

import base64
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

RANKS = "dashscope/resources/qwen.tiktoken"
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Ids 151643 to 151656."""
PLAIN = (
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
"""Ids 151657 to 151664: single tokens that decoding keeps."""


def released_tokenizer() -> Any:
    """The tokenizer of Qwen2.5-VL: 151,665 tokens.

    Raises:
        importlib.metadata.PackageNotFoundError: dashscope is not installed (it comes with `make setup`).
    """
    from tokenizers import AddedToken
    from transformers import Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import TikTokenConverter

    class Released(TikTokenConverter):
        # Its own reader keeps a copy of the file in the temporary folder.
        load_tiktoken_bpe = staticmethod(_ranks)

    path = str(distribution("dashscope").locate_file(RANKS))
    vocabulary, merges = Released(path).extract_vocab_merges_from_model(path)
    # Added alone, the end of a turn would come first.
    vocabulary |= {token: len(vocabulary) + place for place, token in enumerate((*SPECIAL, *PLAIN))}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        padding_side="left",
        model_max_length=131072,
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in PLAIN])
    return tokenizer


def _ranks(path: str) -> dict[bytes, int]:
    """Bytes of a token -> its rank, which is its id; a line has the bytes in base 64 and the rank."""
    lines = Path(path).read_bytes().split(b"\n")
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}
