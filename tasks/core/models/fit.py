"""Whether the processor files of a checkpoint folder are those of its model.

A folder put together from several releases mostly loads: what does not fit would show as an error in the middle of a
run, or as an answer about a video that the model was never shown.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.backbones import Backbone
from tasks.core.models.errors import ModelError
from tasks.core.models.inputs import mismatch
from tasks.core.video.clip import Clip

PROCESSOR, IMAGES, VIDEOS = "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"
TOKENIZERS = ("tokenizer.json", "vocab.json", "tokenizer.model")
TEMPLATES = ("chat_template.jinja", "chat_template.json")
ASKED = "What moves?"


def check_processor_files(folder: Path, backbone: Backbone) -> None:
    """Refuse a folder without a tokenizer or settings of images, or whose processor is said to be another family's.

    Raises:
        ModelError: names the file.
    """
    settings = {name: _settings(folder / name) for name in (PROCESSOR, IMAGES, VIDEOS)}
    if not settings[IMAGES] and not settings[PROCESSOR].get("image_processor"):
        raise ModelError(f"{folder}: no settings of images ({IMAGES}, or image_processor in {PROCESSOR})")
    if not settings[IMAGES] and not settings[VIDEOS] and not settings[PROCESSOR].get("video_processor"):
        raise ModelError(f"{folder}: no settings of videos ({VIDEOS}, or video_processor in {PROCESSOR})")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ModelError(f"{folder}: no tokenizer ({', '.join(TOKENIZERS)})")
    told = [(name, fields["processor_class"]) for name, fields in settings.items() if fields.get("processor_class")]
    if told and told[0][1] not in backbone.processors:
        raise ModelError(
            f"{folder / told[0][0]}: of {told[0][1]}; a {backbone.model_types[0]} is read by "
            f"{' or '.join(backbone.processors)}"
        )


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        fields = json.loads(path.read_text())
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ModelError(f"{path}: not a JSON object")
    return fields


def check_processor(folder: Path, processor: Any, config: Any, backbone: Backbone) -> None:
    """Refuse a processor that the model of `config` was not made with, as far as its files tell.

    Raises:
        ModelError: its class, tokens, sizes of frames or chat template are of another model.
    """
    name = type(processor).__name__
    if name not in backbone.processors:
        raise ModelError(f"{folder}: {name} is not the processor of {config.model_type}")
    _check_tokens(folder, processor.tokenizer.get_vocab(), config, backbone)
    if (reason := backbone.misfit(processor, config)) is not None:
        raise ModelError(f"{folder}: processor settings and config.json are of different models: {reason}")
    if not processor.chat_template:
        raise ModelError(f"{folder}: the processor has no chat template")
    _check_template(folder, processor, backbone)


def _check_tokens(folder: Path, vocabulary: dict[str, int], config: Any, backbone: Backbone) -> None:
    """Refuse a tokenizer without the family's visual tokens, with other ids than the model's, or too large for it."""
    source = folder / next(name for name in TOKENIZERS if (folder / name).is_file())
    if absent := [token for token in backbone.visual_tokens if token not in vocabulary]:
        raise ModelError(f"{source}: has no {', '.join(absent)}; a tokenizer of another family")
    for data_type, token in backbone.placeholders.items():
        wanted = getattr(config, f"{data_type}_token_id", None)
        if wanted is not None and vocabulary.get(token) != wanted:
            raise ModelError(f"{source}: {token} is token {vocabulary.get(token)}, in config.json it is {wanted}")
    size, last = config.get_text_config().vocab_size, max(vocabulary.values())
    if last >= size:
        raise ModelError(f"{source}: has token {last}, the model's vocabulary (config.json) ends at {size - 1}")


def _check_template(folder: Path, processor: Any, backbone: Backbone) -> None:
    """Refuse a template that does not show a picture, a video and the text as the family's processor reads them."""
    from jinja2 import TemplateError

    source = next((name for name in TEMPLATES if (folder / name).is_file()), "chat_template")
    for data_type in backbone.placeholders:
        content = [{"type": data_type}, {"type": "text", "text": ASKED}]
        system = {"role": "system", "content": [{"type": "text", "text": "Think."}]}
        try:
            prompt = backbone.render(processor, [system, {"role": "user", "content": content}])
        except (TemplateError, TypeError, ValueError, LookupError) as error:
            raise ModelError(f"{folder / source}: no usable chat template: {error}") from error
        clip = Clip(np.zeros((1, 1, 1, 3), np.uint8), [0], 1.0, 1.0, 1.0)
        reason = mismatch(processor, prompt, clip, data_type)
        if reason is None and ASKED not in prompt:
            reason = "it leaves the question out"
        if reason is not None:
            raise ModelError(f"{folder / source}: not the chat template of {backbone.model_types[0]}: {reason}")
