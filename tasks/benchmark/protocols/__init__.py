"""Protocols: how a question is put to a model and which scorer counts. Their numbers are never mixed."""

from tasks.benchmark.protocols import official, pipeline, video_r1
from tasks.benchmark.protocols.base import Protocol

PROTOCOLS: dict[str, Protocol] = {module.PROTOCOL.name: module.PROTOCOL for module in (official, video_r1, pipeline)}
