"""Weights that are sharded over several processes (FSDP2).

The rule under sharding, held by construction: every process makes the same forwards, and in each of them the same calls
of the vision encoder. Each layer's weights are gathered as it runs, by all processes together, so a process that ran a
layer more or less than the others would wait for them for ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from tasks.core.io.errors import StageError
from tasks.core.models.load import empty_model, load_model
from tasks.core.models.protocols import Model


def is_sharded(accelerator: Any) -> bool:
    """Whether weights are sharded, so that no process holds all of them."""
    state = accelerator.state
    return getattr(state, "fsdp_plugin", None) is not None or getattr(state, "deepspeed_plugin", None) is not None


def refuse_data_parallel(args: Any, stage: str) -> None:
    """Refuse one process that sees several GPUs: transformers would silently use `nn.DataParallel`.

    Raises:
        StageError: says how to start.
    """
    if args.n_gpu > 1:
        raise StageError(
            f"{stage}: one process sees {args.n_gpu} GPUs; start one process for each "
            f"(VIDEO_R1_LAUNCH=torchrun:{args.n_gpu}, or a file of profiles/accelerate), or let it see one"
        )


def loads_once() -> bool:
    """Whether the launcher shards weights (FSDP2) and has the first process alone load them for all.

    accelerate says so in the environment, before there is a process group that could be asked.
    """
    words = ("ACCELERATE_USE_FSDP", "FSDP_CPU_RAM_EFFICIENT_LOADING")
    return all(os.environ.get(word, "").lower() == "true" for word in words)


def load_policy(path: Path | str, dtype: str = "float32") -> Model:
    """A model to train, on the CPU; where the first process loads for all, the others get it without weights.

    Sharding then hands out the first process's weights tensor by tensor: main memory holds the model once, not once for
    each GPU.

    Raises:
        ModelError: see `load_model`.
    """
    if loads_once() and os.environ.get("RANK", "0") != "0":
        return empty_model(path, dtype)
    return load_model(path, dtype, "cpu")


class ShardedNumbers:
    """Mixin before a transformers `Trainer`: under FSDP2, numbers that do not depend on how weights are spread.

    - Outputs stay as the model made them. accelerate has FSDP cast every output to the weights' type, log-probabilities
      too, whose differences are fractions of a nat.
    - Gradients are reduced in float32.
    - They are reduced after every micro-batch. Kept for the last one, each process would hold them whole.
    """

    def create_accelerator_and_postprocess(self) -> None:
        """The trainer's; then the policy of mixed precision and of reduction."""
        super().create_accelerator_and_postprocess()  # type: ignore[misc]
        trainer: Any = self
        plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
        if plugin is None:
            return
        if plugin.fsdp_version != 2:
            raise StageError(
                "sharded weights: FSDP version 2 is wanted (fsdp_version: 2 in accelerate's configuration)"
            )
        if plugin.mixed_precision_policy is not None:
            from torch.distributed.fsdp import MixedPrecisionPolicy

            plugin.mixed_precision_policy = MixedPrecisionPolicy(
                param_dtype=plugin.mixed_precision_policy.param_dtype, reduce_dtype=torch.float32
            )
        trainer.accelerator.gradient_state.plugin_kwargs["sync_each_batch"] = True


def gather_for_encoding(model: Model) -> None:
    """Have FSDP gather weights for the encoder's methods too; by itself it does so for `forward` alone.

    Args:
        model: unwrapped; changed in place, once.
    """
    from torch.distributed.fsdp import register_fsdp_forward_method

    for name in ("get_image_features", "get_video_features"):
        if hasattr(model, name) and name not in vars(model):
            register_fsdp_forward_method(model, name)


def sharded_reference(policy: Model, accelerator: Any) -> Model:
    """The reference model under FSDP2: a copy of the policy as it was loaded, sharded layer by layer as the policy is.

    It keeps its weights in the type that FSDP would cast them to for every gather, which changes no bit and takes half
    the memory. After a forward it keeps none of them gathered: accelerate has FSDP keep embedding and output layer for
    the backward pass, which a reference model has not.

    TRL 1.16's own is loaded by every process anew, with zeros in all but the first of a machine
    (`fsdp_cpu_ram_efficient_loading`), is sharded so, and in one piece: a forward gathers all of it at once.

    Args:
        policy: unsharded, with its first weights.
        accelerator: the trainer's.
    """
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model

    precision = accelerator.state.fsdp_plugin.mixed_precision_policy
    copy = policy_copy(
        policy,
        with_weights=accelerator.is_main_process or not loads_once(),
        dtype=None if precision is None else precision.param_dtype,
    )
    reference = fsdp2_prepare_model(accelerator, copy.requires_grad_(False)).eval()
    reference.set_reshard_after_forward(True)
    return reference


def policy_copy(policy: Model, *, with_weights: bool, dtype: torch.dtype | None = None) -> Model:
    """A deep copy; without weights its parameters are on the meta device, and nothing is allocated.

    Args:
        policy: stays as it is.
        with_weights: see above.
        dtype: of its floating-point parameters; None leaves them. Buffers stay, as FSDP leaves them.
    """
    copies = {}
    for value in policy.parameters():
        wanted = value.dtype if dtype is None or not value.is_floating_point() else dtype
        kept = value.detach() if with_weights else value.to("meta")
        copies[id(value)] = torch.nn.Parameter(kept.to(wanted, copy=True), value.requires_grad)
    return deepcopy(policy, copies)


def whole_weights(model: Model, dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and whole values of a model's weights, one by one; under sharding all processes must go through them.

    Args:
        model: unwrapped.
        dtype: floating-point values are cast to it before they are gathered, which halves what is sent.
    """
    for name, value in model.state_dict().items():
        yield name, whole(value.detach().to(dtype) if value.is_floating_point() else value.detach())


def whole(value: torch.Tensor) -> torch.Tensor:
    """A tensor gathered from all processes; a tensor that is not sharded is returned as it is."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def on_any(flag: bool, device: torch.device, *, agree: bool) -> bool:
    """Whether the flag holds on any process; all must call it.

    Args:
        flag: this process's.
        device: of the process group's tensors.
        agree: False returns this process's flag without asking the others.
    """
    if not agree or not torch.distributed.is_initialized():
        return flag
    flags = torch.tensor(float(flag), device=device)
    torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
    return bool(flags)
