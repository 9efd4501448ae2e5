"""Reading and writing Qwen2.5-VL checkpoint folders: safetensors only, no remote code, one clear line when it fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.io.errors import StageError
from tasks.core.io.work import folder_digest

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

MODEL_TYPE = "qwen2_5_vl"


class ModelError(StageError):
    """A model folder is missing, incomplete or of another architecture; the text is one line naming the folder."""


def check_folder(path: Path | str) -> Path:
    """The folder, if it holds a Qwen2.5-VL checkpoint with safetensors weights.

    Raises:
        ModelError: missing folder, no config.json, another architecture, or no safetensors.
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
    if model_type != MODEL_TYPE:
        raise ModelError(f"{folder}: model_type is {model_type!r}, only {MODEL_TYPE!r} is supported")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder}: no *.safetensors weights (pickled weights are not read)")
    return folder


def load_model(
    path: Path | str, dtype: str = "float32", device: str | None = None
) -> Qwen2_5_VLForConditionalGeneration:
    """Load a Qwen2.5-VL checkpoint in evaluation mode, with M-RoPE positions by the published rule.

    Args:
        path: checkpoint folder.
        dtype: "float32", "bfloat16" or "auto" (as stored).
        device: where to put it; None is the first GPU, or the CPU where there is none.

    Raises:
        ModelError: see `check_folder`; or weights that are torn, missing or do not fit the configuration.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import Qwen2_5_VLForConditionalGeneration
    from transformers.utils.logging import disable_progress_bar

    from tasks.core.models.positions import use_published_positions

    folder = check_folder(path)
    disable_progress_bar()
    try:
        model, loaded = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: cannot load weights: {_first_line(error)}") from error
    if missing := sorted(loaded["missing_keys"]):  # transformers would make them up and only warn
        raise ModelError(f"{folder}: {len(missing)} weights are missing, the first is {missing[0]}")
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return use_published_positions(model.eval().to(where))


def load_processor(path: Path | str) -> Qwen2_5_VLProcessor:
    """Load tokenizer, chat template, image and video processor of a checkpoint; pads on the left.

    Raises:
        ModelError: missing folder, or processor files missing from it.
    """
    from transformers import Qwen2_5_VLProcessor

    folder = check_folder(path)
    try:
        processor = Qwen2_5_VLProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{folder}: cannot load processor files: {_first_line(error)}") from error
    if not processor.chat_template:
        raise ModelError(f"{folder}: the processor has no chat template")
    processor.tokenizer.padding_side = "left"
    return processor


def save_model(model: Any, processor: Any, path: Path | str) -> None:
    """Write model and processor as one checkpoint folder (safetensors); an existing folder is replaced at the end."""
    folder = Path(path)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(partial)
    processor.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def checkpoint_digest(path: Path | str) -> str:
    """SHA-256 over the names and contents of a checkpoint folder's files (`folder_digest`).

    Raises:
        ModelError: not a usable checkpoint folder.
    """
    return folder_digest(check_folder(path))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
