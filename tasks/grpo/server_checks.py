"""Whether a rollout server can sample for a policy: asked once, before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig

from tasks.core.models.protocols import Processor
from tasks.grpo.server_protocol import ServerClient

PROBE = "Which way? <think>A 7</think> é "
SIZES = (
    "depth",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "out_hidden_size",
    "patch_size",
    "spatial_merge_size",
    "vocab_size",
)
"""Of a text model and of a vision encoder, as config.json calls them."""


def check_server(
    server: ServerClient, processor: Processor, folder: Path | str, *, max_len: int, backend: str, dtype: str
) -> None:
    """Refuse a server that could not sample for this policy; waits until it is up.

    Args:
        server: where it is.
        processor: of the policy.
        folder: checkpoint that the policy was loaded from.
        max_len: prompt plus completion, tokens.
        backend: of the weight transfer.
        dtype: of the weights as they are sent.

    Raises:
        EngineError: the server is not there, or differs; says in what.
    """
    server.wait()
    config = server.part(server.get("server_info?config_format=json"), "server_info", "vllm_config")
    model = server.part(config, "server_info", "model_config")
    if not isinstance(length := server.part(model, "server_info", "max_model_len"), int) or length < max_len:
        raise server.refused(f"--max-model-len {length} is below grpo.rollout_max_len ({max_len})")
    transfer = (config.get("weight_transfer_config") or {}).get("backend")
    if transfer != backend:
        raise server.refused(f"--weight-transfer-config names {transfer}, the trainer sends by {backend}")
    if (theirs := str(server.part(model, "server_info", "dtype")).removeprefix("torch.")) != dtype:
        raise server.refused(f"--dtype {theirs}, grpo.dtype is {dtype}")
    if (mode := model.get("logprobs_mode", "raw_logprobs")) != "raw_logprobs":
        raise server.refused(f"--logprobs-mode {mode}; log-probabilities are wanted as the model gives them")
    on_processors = str((config.get("device_config") or {}).get("device")) == "cpu"
    if on_processors and (config.get("scheduler_config") or {}).get("enable_chunked_prefill"):
        raise server.refused("on processors vLLM dies of prompts in pieces; start it with --no-enable-chunked-prefill")
    if (model.get("multimodal_config") or {}).get("mm_device_do_normalize"):
        raise server.refused("it would scale pixels a second time; start it with --no-mm-device-do-normalize")
    _check_shape(server, str(server.part(model, "server_info", "model")), folder)
    _check_vocabulary(server, processor.tokenizer)


def _check_shape(server: ServerClient, theirs: str, ours: Path | str) -> None:
    """Compare sizes where the server's checkpoint can be read here; elsewhere the first transfer tells."""
    if not (Path(theirs) / "config.json").is_file():
        return
    own, served = sizes(ours), sizes(theirs)
    differ = [f"{name} {served.get(name)}, not {value}" for name, value in own.items() if served.get(name) != value]
    if differ:
        shape = f"its model ({theirs}) has another shape than the policy ({ours})"
        raise server.refused(f"{shape}: {'; '.join(differ[:3])}")


def sizes(folder: Path | str) -> dict[str, int]:
    """Sizes of a checkpoint's text model and vision encoder, by name."""
    config: Any = AutoConfig.from_pretrained(str(folder))
    parts = {"text": config.get_text_config(), "vision": getattr(config, "vision_config", None)}
    return {
        f"{part}.{name}": value
        for part, section in parts.items()
        for name in SIZES
        if isinstance(value := getattr(section, name, None), int)
    }


def _check_vocabulary(server: ServerClient, tokenizer: Any) -> None:
    probe = PROBE + "".join(sorted(tokenizer.get_added_vocab()))
    own = list(tokenizer(probe, add_special_tokens=False)["input_ids"])
    answer = server.post("tokenize", {"prompt": probe, "add_special_tokens": False})
    if server.part(answer, "tokenize", "tokens") != own:
        raise server.refused("its model has another vocabulary than the policy")
