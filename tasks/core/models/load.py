"""Reading and writing checkpoint folders: safetensors only, no remote code, one clear line when it fails."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

from tasks.core.models.protocols import Model, Processor
from tasks.core.backbones import Backbone, FrameShape, UnknownBackboneError, backbone_of, of_model
from tasks.core.io.atomic import replace_folder
from tasks.core.io.digests import folder_digest
from tasks.core.models.errors import ModelError
from tasks.core.models.fit import check_processor, check_processor_files
from tasks.core.models.weights import check_finite, check_loaded, check_weights

UNUSABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)
"""What transformers raises over files that it cannot use."""


def check_folder(path: Path | str) -> Path:
    """The folder, if it holds a checkpoint of a known backbone with whole safetensors files.

    Raises:
        ModelError: missing folder, no config.json or one without sizes, an unknown model_type, weight files that are
            not all there, or torn.
    """
    folder = Path(path)
    backbone_in(folder)
    check_weights(folder)
    config = _json_object(folder / "config.json")
    # transformers would fill in the sizes of some released model.
    if not config.get("vision_config") or not (config.get("text_config") or config.get("hidden_size")):
        raise ModelError(f"{folder / 'config.json'}: no sizes of a model (vision_config, text_config)")
    return folder


def backbone_in(path: Path | str) -> Backbone:
    """The family of the checkpoint in a folder, by its config.json; weights need not be there.

    Raises:
        ModelError: missing folder, no config.json, or an unknown model_type.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder")
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{folder}: not a model folder (no config.json)")
    try:
        model_type = json.loads(config.read_text()).get("model_type")
    except (json.JSONDecodeError, AttributeError) as error:
        raise ModelError(f"{config}: not a JSON object: {error}") from error
    try:
        return backbone_of(model_type)
    except UnknownBackboneError as error:
        raise ModelError(f"{folder}: {error}") from error


def is_endpoint(path: Path | str) -> bool:
    """Whether a model's path names an endpoint file (`engine/endpoint.py`) and not a checkpoint folder."""
    return Path(path).suffix in (".yaml", ".yml")


def frame_shape_in(path: Path | str) -> FrameShape:
    """Sizes of frames that the model in a folder reads; of an endpoint, whose processor resizes itself, the default.

    Raises:
        ModelError: not a checkpoint of a known backbone, or its processor settings do not say the size.
    """
    folder = Path(path)
    if is_endpoint(folder):
        return FrameShape()
    backbone = backbone_in(folder)
    try:
        return backbone.frame_shape(processor_settings(folder))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}: the processor's settings say no frame size: {error!r}") from error


def processor_settings(folder: Path) -> dict[str, Any]:
    """Settings of a checkpoint's image processor, in whichever files they are; a video processor's fill the gaps."""
    merged: dict[str, Any] = {}
    nested = _json_object(folder / "processor_config.json")
    for settings in (
        _json_object(folder / "video_preprocessor_config.json"),
        nested.get("video_processor") or {},
        _json_object(folder / "preprocessor_config.json"),
        nested.get("image_processor") or {},
    ):
        merged |= settings
    return merged


def _json_object(path: Path) -> dict[str, Any]:
    """Fields of a JSON file; none where there is no such file."""
    if not path.is_file():
        return {}
    try:
        fields = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ModelError(f"{path}: not a JSON object")
    return fields


def load_model(path: Path | str, dtype: str = "float32", device: str | None = None) -> Model:
    """Load a checkpoint in evaluation mode, its tokens placed as in its release.

    Args:
        path: checkpoint folder.
        dtype: "float32", "bfloat16" or "auto" (as stored).
        device: where to put it; None is the first GPU, or the CPU where there is none.

    Raises:
        ModelError: see `check_folder`; or weights that are missing, do not fit the configuration or are no numbers.
    """
    import torch

    model = _from_files(check_folder(path), dtype=dtype)
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    of_model(model).use_positions(model)
    model.eval().to(where)
    check_finite(Path(path), model)
    return model


def check_model(path: Path | str) -> None:
    """Refuse a checkpoint whose weights' names and shapes `load_model` would refuse; for what loads by itself.

    vLLM 0.32 starts without weights of the encoder, and takes the input embedding for another output layer.

    Raises:
        ModelError: see `load_model`.
    """
    _from_files(check_folder(path), device_map="meta")


def _from_files(folder: Path, **options: Any) -> Model:
    """The model in a folder, loaded by transformers with these options, and checked."""
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    reports = logging.getLogger("transformers.modeling_utils")
    reports.addFilter(_is_error)  # Without its table of what does not fit; `check_loaded` says it in a line.
    try:
        model, loaded = AutoModelForImageTextToText.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # They are told by name below.
            **options,
        )
    except (*UNUSABLE, SafetensorError) as error:
        raise ModelError(f"{folder}: cannot load weights: {_first_line(error)}") from error
    finally:
        reports.removeFilter(_is_error)
    if unread := check_loaded(folder, model, loaded):
        print(f"{folder}: {len(unread)} weights are of no use to the model, the first is {unread[0]}", file=sys.stderr)
    return model


def empty_model(path: Path | str, dtype: str = "float32") -> Model:
    """A checkpoint's model without its weights: parameters hold nothing, buffers are real; otherwise as `load_model`.

    Parameters are address space that nobody has written to, which takes no memory. On the meta device they would all
    lie at address 0, and accelerate finds a parameter's place in the optimizer by its address.

    Raises:
        ModelError: see `check_folder`; or no usable configuration.
    """
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig

    folder = check_folder(path)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with init_empty_weights(include_buffers=False):
            model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, dtype))
        if (folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: cannot make the model: {_first_line(error)}") from error
    model.config.name_or_path = str(folder)
    for module in model.modules():
        for name, value in module.named_parameters(recurse=False):
            module.register_parameter(name, torch.nn.Parameter(torch.empty_like(value, device="cpu")))
    model.tie_weights()
    of_model(model).use_positions(model)
    return model.eval()


def load_processor(path: Path | str) -> Processor:
    """Load tokenizer, chat template, image and video processor of a checkpoint; pads on the left.

    Raises:
        ModelError: see `check_folder`; or processor files that are missing or of another model.
    """
    from transformers import AutoConfig, AutoProcessor

    folder = check_folder(path)
    backbone = backbone_in(folder)
    check_processor_files(folder, backbone)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except AttributeError as error:  # A tokenizer is asked for a token that only the family's own has.
        raise ModelError(f"{folder}: the tokenizer's files are of another family: {_first_line(error)}") from error
    except UNUSABLE as error:
        raise ModelError(f"{folder}: cannot load processor files: {_first_line(error)}") from error
    processor.chat_template = processor.chat_template or processor.tokenizer.chat_template
    check_processor(folder, processor, config, backbone)
    processor.tokenizer.padding_side = "left"
    return processor


def save_model(model: Model, processor: Processor, path: Path | str) -> None:
    """Write model and processor as one checkpoint folder (safetensors); an existing folder is replaced at the end."""
    folder = Path(path)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(partial)
    processor.save_pretrained(partial)
    replace_folder(partial, folder)


def checkpoint_digest(path: Path | str) -> str:
    """SHA-256 over the names and contents of a checkpoint folder's files (`folder_digest`).

    Raises:
        ModelError: not a usable checkpoint folder.
    """
    return folder_digest(check_folder(path))


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
