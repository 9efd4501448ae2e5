"""Parts of random models of few weights: a byte-level tokenizer trained on the spot and a chat template."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
CHAT_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ROPE_THETA = 30.0
"""With heads of 32 the usual million leaves the slow dimensions of rotary positions nearly constant."""
TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for item in message.content %}\
{% if item.type == "video" %}VIDEO{% elif item.type == "image" %}IMAGE{% else %}{{ item.text }}{% endif %}\
{% endfor %}{% endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}
"""


def chat_template(image: str, video: str) -> str:
    """Jinja template of a chat whose media are written as `image` and `video`."""
    return TEMPLATE.replace("IMAGE", image).replace("VIDEO", video)


def tokenizer(corpus: Iterable[str], vocabulary: int, visual: Sequence[str], **options: Any) -> Any:
    """A tokenizer trained on `corpus`: at most `vocabulary` tokens, any text encodable (byte level).

    Args:
        corpus: texts.
        vocabulary: how many tokens, special ones and reasoning tags (single tokens) included.
        visual: further special tokens.
        options: of the tokenizer.
    """
    from tokenizers import AddedToken
    from transformers import Qwen2Tokenizer

    special = [*CHAT_TOKENS, *visual]
    vocab, merges = _train_bpe(corpus, vocabulary - len(special) - len(TAGS))
    made = Qwen2Tokenizer(
        vocab=vocab,
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        additional_special_tokens=special,
        padding_side="left",
        model_max_length=32768,
        **options,
    )
    made.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return made


def text_settings(tokenizer: Any, *, hidden_size: int, layers: int, heads: int) -> dict[str, Any]:
    """Sizes and special ids of a small language model, in the words that Qwen's and Llama's configurations share."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden_size,
        "intermediate_size": 3 * hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
    }


def siglip_settings(hidden_size: int, heads: int, layers: int) -> dict[str, Any]:
    """Sizes of a small SigLIP encoder of frames of 56 x 56."""
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": hidden_size,
        "intermediate_size": 3 * hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "image_size": 56,
        "patch_size": 14,
    }


def random_model(kind: Any, config: Any, tokenizer: Any, seed: int) -> Any:
    """A model of class `kind` with random weights, which ends completions as the tokenizer does."""
    import torch

    torch.manual_seed(seed)
    model = kind(config)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids("<|im_end|>")
    model.generation_config.pad_token_id = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    return model


def _train_bpe(corpus: Iterable[str], size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.NFC()
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(corpus, trainer)
    parts = json.loads(trained.to_str())["model"]
    return parts["vocab"], [(left, right) for left, right in parts["merges"]]
