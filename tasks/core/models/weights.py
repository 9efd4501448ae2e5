"""The weight files of a checkpoint folder: which they are, whether they are whole, and what a load made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tasks.core.models.errors import ModelError

SINGLE, INDEX, ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_config.json"
ENDS = HEAD, EMBEDDING = "lm_head.weight", "embed_tokens.weight"
POINTER = b"version https://git-lfs"
"""How a file begins that git wrote in the place of a large one."""


def check_weights(folder: Path) -> None:
    """Refuse a folder whose weight files are not all there, or torn; headers are read, no weights.

    Raises:
        ModelError: names the file.
    """
    for path in weight_files(folder):
        _check_header(path)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a checkpoint's weights: those of its index, or the only one.

    Raises:
        ModelError: there are none, one that the index names is not there, or two sets could be meant.
    """
    single, index = folder / SINGLE, folder / INDEX
    if index.is_file():
        names = sorted(set(_weight_map(index).values()))
        if single.is_file() and names != [SINGLE]:
            raise ModelError(f"{folder}: {SINGLE} and {INDEX} name different weights; remove the one that is not meant")
        if absent := [name for name in names if not (folder / name).is_file()]:
            raise ModelError(f"{index}: {len(absent)} of {len(names)} files are not there, the first is {absent[0]}")
        return [folder / name for name in names]
    if single.is_file():
        return [single]
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if (folder / ADAPTER).is_file():
        raise ModelError(f"{folder}: an adapter ({ADAPTER}), not a whole model; merge it into its base first")
    if others:
        raise ModelError(f"{folder}: no {INDEX} and no {SINGLE}, which say what {others[0]} is a part of")
    raise ModelError(f"{folder}: no *.safetensors weights (pickled weights are not read)")


def _weight_map(index: Path) -> Mapping[str, str]:
    try:
        weight_map = json.loads(index.read_text())["weight_map"]
        if weight_map and all(isinstance(name, str) for name in weight_map.values()):
            return weight_map
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: not an index of weights: {type(error).__name__}: {error}") from error
    raise ModelError(f"{index}: not an index of weights: weight_map names no files")


def _check_header(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            return
    except (SafetensorError, OSError) as error:
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                reason = "a pointer of Git LFS, the weights themselves were not fetched"
            else:
                reason = f"torn, or not safetensors: {str(error).strip() or type(error).__name__}"
        raise ModelError(f"{path}: {reason}") from error


def check_loaded(folder: Path, model: Any, loaded: Mapping[str, Collection[Any]]) -> list[str]:
    """Refuse a model that is not what its files say.

    transformers fills missing weights with random numbers, leaves out those that it has no place for, and takes an
    output layer of its own where the configuration wants the input's; of all this it only warns.

    Args:
        folder: named in errors.
        model: as loaded, or without its weights (on the meta device).
        loaded: `output_loading_info` of a load with `ignore_mismatched_sizes`.

    Returns:
        Names of weights in the files that the model has no place for, sorted; a family's extras.

    Raises:
        ModelError: weights are missing, of another shape, or belong to layers or adapters that the model lacks.
    """
    unread = sorted(loaded["unexpected_keys"])
    if differing := sorted(loaded["mismatched_keys"]):
        name, stored, wanted = differing[0]
        raise ModelError(
            f"{folder}: {len(differing)} weights have other shapes than config.json says, the first is {name}: "
            f"{tuple(stored)} in the files, {tuple(wanted)} in config.json"
        )
    if missing := sorted(loaded["missing_keys"]):
        reason = f"{folder}: {len(missing)} weights are missing, the first is {missing[0]}"
        if missing == [HEAD]:
            reason += " (config.json says tie_word_embeddings: false)"
        raise ModelError(reason + (f"; the files hold {unread[0]}, which the model has not" if unread else ""))
    modules = {name for name, _ in model.named_modules()}
    if misplaced := [name for name in unread if _belongs(name, modules)]:
        raise ModelError(
            f"{folder}: {len(misplaced)} weights have no place in the model of config.json, the first is {misplaced[0]}"
        )
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    if model.config.tie_word_embeddings and not tied and not _head_is_embedding(folder):
        raise ModelError(
            f"{folder}: config.json says tie_word_embeddings: true, but the files hold another {HEAD} than {EMBEDDING}"
        )
    return unread


def check_finite(folder: Path, model: Any) -> None:
    """Refuse a model of which a weight is NaN or infinite: it would answer, and nothing it says would mean anything.

    Raises:
        ModelError: names the first such tensor, and how many there are.
    """
    import torch

    ends = [(name, torch.stack(torch.aminmax(weight.detach()))) for name, weight in model.named_parameters()]
    if broken := [name for name, lowest_highest in ends if not lowest_highest.isfinite().all()]:
        raise ModelError(
            f"{folder}: {len(broken)} of {len(ends)} weights hold numbers that are NaN or infinite, "
            f"the first is {broken[0]}"
        )


def _head_is_embedding(folder: Path) -> bool:
    """Whether the output layer and the input embedding in the files are equal."""
    import torch
    from safetensors import safe_open

    weights: dict[str, torch.Tensor] = {}
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            weights |= {end: file.get_tensor(name) for name in file.keys() for end in ENDS if name.endswith(end)}
    return len(weights) == len(ENDS) and torch.equal(*weights.values())


def _belongs(name: str, modules: Collection[str]) -> bool:
    """Whether a weight without a place is one of a layer beyond the model's last, or of an adapter."""
    layers = [name[: match.start()] for match in re.finditer(r"\.\d+\.", name)]
    return "lora_" in name or any(layer in modules for layer in layers)
