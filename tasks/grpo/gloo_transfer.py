"""Weight transfer over gloo, registered beside vLLM's own: for a rollout server on processors.

Both sides of vLLM's protocol, as its NCCL engine has them; a broadcast per tensor, none packed. The trainer's side is
registered where this module is imported; a server imports it by

    vllm serve MODEL --weight-transfer-config '{"backend": "gloo"}' \
        --worker-extension-cls tasks.grpo.gloo_transfer.Extension
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, ClassVar, Self

import torch
from torch.distributed import ProcessGroupGloo, TCPStore
from vllm.distributed.weight_transfer.base import (
    TrainerInitInfo,
    TrainerWeightTransferEngine,
    WeightTransferEngine,
    WeightTransferInitInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory, WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferUpdateInfo as UpdateInfo

NAME = "gloo"


@dataclasses.dataclass
class GlooInitInfo(WeightTransferInitInfo):
    """What a worker needs to meet the trainer, which has rank 0."""

    master_address: str
    master_port: int
    world_size: int
    timeout_seconds: float


@dataclasses.dataclass
class GlooTrainerInitInfo(TrainerInitInfo):
    """What the trainer needs to be met."""

    backend: ClassVar[str] = NAME

    master_address: str
    master_port: int
    world_size: int
    timeout_seconds: float


def group_of(info: GlooInitInfo | GlooTrainerInitInfo, rank: int) -> ProcessGroupGloo:
    """The group of the trainer and all workers; every process of it must come within the time limit."""
    limit = timedelta(seconds=info.timeout_seconds)
    store = TCPStore(
        info.master_address, info.master_port, info.world_size, is_master=rank == 0, timeout=limit, use_libuv=True
    )
    return ProcessGroupGloo(store, rank, info.world_size, limit)


class GlooWorker(WeightTransferEngine[GlooInitInfo, UpdateInfo]):
    """A worker's side: weights in the checkpoint's format, read into the model as they come."""

    init_info_cls = GlooInitInfo
    update_info_cls = UpdateInfo

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._group: ProcessGroupGloo | None = None

    def init_transfer_engine(self, init_info: GlooInitInfo) -> None:
        """Meet the trainer; an earlier one is let go."""
        self.shutdown()
        place = self.parallel_config.data_parallel_index * self.parallel_config.world_size + self.parallel_config.rank
        self._group = group_of(init_info, 1 + place)

    def start_weight_update(self) -> None:
        """Have each layer put together as soon as all its parts are there."""
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        initialize_layerwise_reload(self.model)

    def finish_weight_update(self) -> None:
        """Put together what is left."""
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

        finalize_layerwise_reload(self.model, self.model_config)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """As the base class, without waiting for an accelerator."""
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: UpdateInfo) -> None:
        """Take every tensor in the order told.

        Raises:
            RuntimeError: no trainer was met.
        """
        if self._group is None:
            raise RuntimeError("no trainer has opened a transfer of weights")
        for name, dtype, shape in zip(update_info.names, update_info.dtype_names, update_info.shapes, strict=True):
            value = torch.empty(shape, dtype=getattr(torch, dtype))
            self._group.broadcast(value, 0).wait()
            self.model.load_weights([(name, value)])

    def shutdown(self) -> None:
        """Let the trainer go."""
        self._group = None


class GlooTrainer(TrainerWeightTransferEngine[GlooTrainerInitInfo]):
    """The trainer's side, in the one process that sends."""

    init_info_cls = GlooTrainerInitInfo
    group: ProcessGroupGloo | None = None

    @classmethod
    def trainer_init(cls, init_info: GlooTrainerInitInfo, *, client: Any, source: Any = None) -> Self:
        """Meet the workers, which the server's call brings while this process waits for them."""
        engine = cls(client=client, source=source)
        with_workers = GlooInitInfo(
            init_info.master_address, init_info.master_port, init_info.world_size, init_info.timeout_seconds
        )
        with ThreadPoolExecutor(1) as threads:
            told = threads.submit(client.init_weight_transfer_engine, dataclasses.asdict(with_workers))
            engine.group = group_of(init_info, 0)
            told.result()
        return engine

    def send_weights(self) -> None:
        """Broadcast all weights of the source while the workers take them."""
        assert self.source is not None and self.group is not None
        meta = self.source.metadata()
        update = UpdateInfo(
            [each.name for each in meta],
            [str(each.dtype).removeprefix("torch.") for each in meta],
            [list(each.shape) for each in meta],
        )
        self.client.start_weight_update()
        threads = ThreadPoolExecutor(1)
        try:
            told = threads.submit(self.client.update_weights, dataclasses.asdict(update))
            for _, value in self.source:
                if told.done():
                    told.result()
                self.group.broadcast(value.contiguous(), 0).wait()
            told.result()
        finally:
            threads.shutdown(wait=False)
        self.client.finish_weight_update()

    def shutdown(self) -> None:
        """Let the workers go."""
        self.group = None


class Extension:
    """Has a server's workers import this module; adds nothing to them."""


WeightTransferEngineFactory.register_engine(NAME, GlooWorker)
WeightTransferTrainerFactory.register_engine(NAME, GlooTrainer)
