"""All changes of a model in place, in one order."""

from __future__ import annotations

import os

import torch

from tasks.core.backbones import of_model
from tasks.core.models.protocols import Model
from tasks.core.train.recompute import use_selective_checkpointing
from tasks.core.train.shared_prefix import use_shared_prefix
from tasks.core.train.varlen_attention import use_varlen_encoder


def prepare(model: Model, *, packed: bool = False, varlen: bool = True, selective: bool = False) -> Model:
    """Prepare an unwrapped model for forward passes and training; a second call adds what the first left out.

    1. positions of tokens as released weights were trained, where transformers places them otherwise (a model from
       `load_model` has them)
    2. `packed`: attention over rows that hold several completions, and only predicting tokens leave the last layer;
       with `varlen` through FlashAttention where that runs, an encoder's windows too
    3. `selective`: blocks that keep fewer activations (`recompute.py`)

    Args:
        model: as loaded; changed in place.
        packed: whether packed rows are to be read.
        varlen: whether FlashAttention may be used.
        selective: whether blocks run parts of themselves again in the backward pass.

    Returns:
        The same model.

    Raises:
        ValueError: `packed`, and the model cannot read packed rows.
    """
    backbone = of_model(model)
    backbone.use_positions(model)
    if packed:
        use_shared_prefix(model, varlen)
        encoder = getattr(model.model, backbone.names.encoder[0])
        # By what the machine has, not by where the weights lie: a trainer moves or shards them later.
        if varlen and backbone.windowed_encoder and torch.cuda.is_available():
            use_varlen_encoder(encoder)
    if selective:
        use_selective_checkpointing(model)
    return model


def name_layers(model: Model) -> None:
    """Under FSDP, tell accelerate by which classes to shard, unless its configuration does; before a trainer is made.

    transformers' own list of a model's layers may hold classes that the model does not have.
    """
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        os.environ.setdefault("FSDP_TRANSFORMER_CLS_TO_WRAP", ",".join(of_model(model).layer_classes(model)))
