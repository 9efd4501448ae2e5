"""Vision features: each medium is encoded once, and features are kept as long as the encoder's weights do not change.

The encoders of `core/backbones` treat every temporal patch (one frame or two) alone: their attention ends at the patch,
and their positions are those of height and width. Whole patches in another order therefore have the same features in
that order, and need no pass of their own; of patches of two frames, frames shuffled one by one make other patches.

    shown        encoded (order of the source)      features
    4 5 0 1 2 3      0 1 | 2 3 | 4 5             rows 2, 0, 1 of it
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from tasks.core.backbones import IMAGE, VIDEO, EncodedPrompt, Patches, backbone_of, of_model
from tasks.core.models.protocols import Model
from tasks.core.train.clips import BYTES_PER_GB


class Content(NamedTuple):
    """Key of kept features: the medium, its patches and the weights."""

    weights: str
    """Name of the encoder's weights; features of other names are not used."""
    kind: int
    """IMAGE or VIDEO."""
    source: str
    patches: Patches
    """Without repeats, ascending: the same key for every order of the same patches."""

    @property
    def whole(self) -> bool:
        """Whether patches pair frames as in the source; after a shuffle of single frames they do not."""
        frames = list(itertools.chain.from_iterable(self.patches))
        return frames == sorted(frames)


class FeatureStore:
    """Features by content, in main memory, the least recently used dropped above `limit_gb` GiB.

    Features of a `lasting` store must not depend on the batch they were encoded in, or a resumed run would differ in
    rounding: for such a store `encode_media` encodes each medium in a pass of its own.
    """

    def __init__(self, limit_gb: float, *, lasting: bool) -> None:
        self.lasting = lasting
        self._limit_bytes = int(limit_gb * BYTES_PER_GB)
        self._features: OrderedDict[Content, torch.Tensor] = OrderedDict()
        self._bytes = 0

    def get(self, content: Content) -> torch.Tensor | None:
        """Features (tokens, hidden) on the CPU, without gradient."""
        if content not in self._features:
            return None
        self._features.move_to_end(content)
        return self._features[content]

    def put(self, content: Content, features: torch.Tensor) -> None:
        """Keep a copy."""
        self._forget(content)
        self._features[content] = kept = features.detach().to("cpu", copy=True)
        self._bytes += kept.nbytes
        while self._bytes > self._limit_bytes:
            self._forget(next(iter(self._features)))

    def keep_only(self, wanted: Callable[[Content], bool]) -> None:
        """Drop all other features."""
        for content in [content for content in self._features if not wanted(content)]:
            self._forget(content)

    def _forget(self, content: Content) -> None:
        if (kept := self._features.pop(content, None)) is not None:
            self._bytes -= kept.nbytes


def encode_media(
    model: Model,
    prompts: Sequence[EncodedPrompt],
    store: FeatureStore | None = None,
    weights: str = "",
    idle: EncodedPrompt | None = None,
) -> list[torch.Tensor | None]:
    """Vision features (tokens, hidden) of each prompt, None for text.

    Media of one source with the same temporal patches, in whatever order, are encoded once. What `store` lacks takes
    one pass over images and one over videos, or with a lasting store one pass each.

    Args:
        model: unwrapped.
        prompts: encoded prompts; those without a source are compared with none.
        store: features made without gradient, read and filled; None keeps nothing.
        weights: name of the weights that the model has at present, for the store.
        idle: for sharded weights, whose passes all processes must make together: exactly one pass is made, over images
            and videos together, and over this stand-in where nothing is missing.
    """
    keys = [_content(prompt, weights) or row for row, prompt in enumerate(prompts)]
    first: dict[Content | int, EncodedPrompt] = {}
    for key, prompt in zip(keys, prompts, strict=True):
        if prompt.kind:
            first.setdefault(key, prompt)
    features: dict[Content | int, torch.Tensor] = {}
    if store is not None:
        kept = {key: store.get(key) for key in first if isinstance(key, Content)}
        features = {key: value.to(model.device) for key, value in kept.items() if value is not None}
    missing = {key: _sorted_patches(prompt) for key, prompt in first.items() if key not in features}
    alone = store is not None and store.lasting and idle is None
    for part in [{key: prompt} for key, prompt in missing.items()] if alone else [missing]:
        encoded = _encode(model, part) if idle is None else _encode_together(model, part, idle)
        features |= encoded
        if store is not None:
            for key, value in encoded.items():
                if isinstance(key, Content):
                    store.put(key, value)
    return [
        _as_shown(features[key], prompt) if prompt.kind else None for key, prompt in zip(keys, prompts, strict=True)
    ]


def encoder_outputs(prompts: Sequence[EncodedPrompt], features: Sequence[torch.Tensor | None]) -> dict[str, Any]:
    """Features of the rows of a batch as the model's `mm_encoder_outputs`; rows may share a tensor."""
    family = next((prompt.family for prompt in prompts if prompt.kind), None)
    return {} if family is None else backbone_of(family).encoder_outputs(prompts, features)


def trains(model: Model) -> bool:
    """Whether any weight of a model's vision encoder trains, adapters included."""
    return any(weight.requires_grad for weight in of_model(model).encoder_parameters(model))


def train_encoder(model: Model, wanted: bool) -> None:
    """Train the vision encoder, or freeze it."""
    for weight in of_model(model).encoder_parameters(model):
        weight.requires_grad_(wanted)


def _encode(model: Model, media: Mapping[Any, EncodedPrompt]) -> dict[Any, torch.Tensor]:
    """One pass over images and one over videos."""
    backbone = of_model(model)
    encoded: dict[Any, torch.Tensor] = {}
    for kind in (IMAGE, VIDEO):
        if rows := {key: prompt for key, prompt in media.items() if prompt.kind == kind}:
            encoded |= zip(rows, backbone.features(model, list(rows.values())), strict=True)
    return encoded


def _encode_together(model: Model, media: Mapping[Any, EncodedPrompt], idle: EncodedPrompt) -> dict[Any, torch.Tensor]:
    """One pass over all media, or over a stand-in whose features are not used."""
    features = of_model(model).joint_features(model, list(media.values()) or [idle])
    return dict(zip(media, features, strict=False))


def _content(prompt: EncodedPrompt, weights: str) -> Content | None:
    """None for text and for a medium of unknown source."""
    if not prompt.kind or prompt.source is None:
        return None
    return Content(weights, prompt.kind, prompt.source, _distinct(prompt.patches))


def _distinct(patches: Patches) -> Patches:
    return tuple(sorted(set(patches)))


def _sorted_patches(prompt: EncodedPrompt) -> EncodedPrompt:
    """The prompt with every distinct temporal patch once, in the order of its source."""
    distinct = _distinct(prompt.patches)
    if prompt.source is None or prompt.patches == distinct or prompt.pixels is None:
        return prompt
    places = [prompt.patches.index(patch) for patch in distinct]
    return backbone_of(prompt.family).select_patches(prompt, places)


def _as_shown(features: torch.Tensor, prompt: EncodedPrompt) -> torch.Tensor:
    """Undo `_sorted_patches` on its features."""
    distinct = _distinct(prompt.patches)
    if prompt.source is None or prompt.patches == distinct:
        return features
    places = [distinct.index(patch) for patch in prompt.patches]
    tail = backbone_of(prompt.family).feature_tail.get(prompt.kind, 0)
    rows, last = features.split([len(features) - tail, tail])
    return torch.cat([rows.unflatten(0, (len(distinct), -1))[places].flatten(0, 1), last])
