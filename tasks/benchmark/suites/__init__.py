"""Benchmarks, one module each; this table is the list of them."""

from tasks.benchmark.base import Suite
from tasks.benchmark.suites import mmvu, mvbench, tempcompass, video_holmes, video_mme, video_mmmu, vsi_bench, world

REGISTRY: dict[str, Suite] = {
    module.SUITE.name: module.SUITE
    for module in (vsi_bench, video_mmmu, mmvu, mvbench, tempcompass, video_mme, video_holmes, world)
}
