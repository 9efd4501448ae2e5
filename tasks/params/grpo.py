"""Section of the stage grpo."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from tasks.grpo.objectives import Choice
from tasks.grpo.objectives.tgrpo_reward import TgrpoReward
from tasks.params.common import Guards, Sampling, Section

Tag = Literal["unknown", "text", "one_frame", "any_order", "order", "error", "too_easy", "learnable", "too_hard"]
"""Tags of an audit: what a question needs of its clip, and how hard it is."""


class Length(Section):
    """Length reward (Video-R1, section 3.3): paid to correct completions inside the window, if several are correct."""

    omega: float = Field(0.2, ge=0)
    """The reward."""
    min_tokens: int = Field(320, ge=0)
    """Shortest completion in the window."""
    max_tokens: int = Field(512, ge=1)
    """Longest."""
    correct_above: float = Field(0.1, ge=0, le=1)
    """A completion is correct when its accuracy is greater than this."""


class Lora(Section):
    """Low-rank adapters in place of all weights."""

    rank: int = Field(0, ge=0)
    """0 trains all weights. Beside an adapter, which trains in float32, the weights are held in `grpo.dtype`."""
    alpha: int = Field(32, ge=1)
    """The adapter's output is scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)


class RolloutServer(Section):
    """A running vLLM server that samples for the trainer (docs/scaling.md)."""

    url: str
    """The server's root, without `/v1`: `http://host:8000`."""
    timeout_seconds: float = Field(120.0, gt=0, le=300)
    """Longest wait for one call (all completions of a step, one transfer of weights) and for a server that is down.
    What fails is asked once more."""

    @field_validator("url")
    @classmethod
    def _a_root(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            given = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            given = False
        rest = given and (parts.query or parts.fragment or parts.username or parts.path.rstrip("/").endswith("/v1"))
        if not given or rest or any(sign.isspace() for sign in value):
            raise ValueError("a server's root is wanted, as http://HOST:PORT, without /v1")
        return value


class Rows(Section):
    """Which RL rows are trained on."""

    tags: str | None = None
    """Table of tags that `python -m tasks.audit MODEL data/ingest/rl.parquet` made; null takes every row."""
    digest: str = ""
    """First digits of the table's SHA-256; the stage says them, and reruns where they change."""
    drop: list[Tag] = ["text"]
    """Rows with one of these tags are left out; rows that the audit did not ask are kept. Counted in
    reports/grpo/metrics.json."""
    pairs: bool = False
    """Half of the rows about order (those whose answer on the reversed clip a rule tells) are the other half's clips
    played backwards, with the answer that they then have. Counted in reports/grpo/metrics.json."""


NO_RESULT = {"save_steps", "report_to", "guards"}
"""Fields of the section that change what is saved and reported, and no weight."""


class Grpo(Section):
    objective: Choice = TgrpoReward()
    """What is added to the reward or the advantage of a completion: a `kind`, and the fields that it reads
    (docs/params.md)."""
    rows: Rows = Rows()
    steps: int = Field(60, ge=1)
    """Optimizer steps."""
    prompts_per_step: int = Field(4, ge=1)
    """Prompts per step and device (with `group_ranks`: per so many devices); each gets `group` ordered completions."""
    group: int = Field(8, ge=2)
    """G: completions on ordered frames per prompt."""
    group_ranks: int = Field(1, ge=1)
    """Devices that share the rows of `prompts_per_step` prompts; above 1 a group may lie on several devices."""
    refill: int = Field(0, ge=0)
    """Dynamic sampling: how often a prompt whose completions get no advantage is replaced within its step."""
    learning_rate: float = Field(1e-6, gt=0)
    scheduler: Literal["linear", "cosine", "constant"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    """Steps in which the learning rate rises from 0."""
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(5.0, gt=0)
    """Gradients with a larger norm are scaled down to it."""
    beta: float = Field(0.04, ge=0)
    """Weight of the KL penalty against the SFT model."""
    epsilon: float = Field(0.2, gt=0)
    """Clipping distance: how far a token's probability may move within a step and still be trained."""
    epsilon_high: float | None = Field(None, gt=0)
    """Upper clipping distance (`cispo`: upper bound of the ratio); null is `epsilon`."""
    importance_level: Literal["token", "sequence"] = "token"
    """Probability ratios by token or by sequence; `sequence` with `loss_type: grpo` is GSPO, and `luspo` needs it."""
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"] = "grpo"
    """TRL's losses; they differ in clipping and in what the sum over tokens is divided by."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """What a reward less its group's mean is divided by: the group's deviation, the batch's, or nothing."""
    sampling: Sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=768)
    length: Length | None = Length()
    """null: no length reward."""
    reward_variant: Literal["strict", "robust"] = "robust"
    """`strict`: the published scorer, its holes included. `robust`: reads other forms of the same answer too."""
    format_weight: float = Field(1.0, ge=0)
    """Of the reward for reasoning and answer in their tags; a right answer's is 1."""
    train_vision: bool = True
    """Whether the vision encoder's weights train."""
    micro_batch: int | None = Field(None, ge=1)
    """Rows per forward and backward; a divisor of prompts_per_step * group. null takes all rows of a step at once."""
    encode_once: bool = True
    """One vision pass per clip, shared by its rows and by orders of whole temporal patches;
    false gives every row its own."""
    cache_features_gb: float = Field(1.0, ge=0)
    """Vision features kept in memory with `encode_once`, GiB: where `train_vision` is false for the run, so that each
    medium is encoded once; otherwise from a step's rollouts to its update, for passes without gradient. 0: none."""
    share_prefix: bool = True
    """Rollouts read each prompt once and copy its keys and values; false reads it for every completion."""
    drop_ended: bool = True
    """Rollouts on a CPU take completions out of the batch as they end, copy no prompt, and leave log-probabilities, so
    that an objective that scores completions need not read them under the true order again; needs `share_prefix` and
    weights that are not sharded. Otherwise, and if false: transformers' `generate`, until the longest one ends."""
    share_prefix_update: bool = True
    """Loss and reference read each prompt once for all its completions in a micro-batch; false reads it for each."""
    varlen_attention: bool = True
    """On a GPU in bfloat16: packed rows and the vision encoder's windows go through FlashAttention's variable-length
    kernel, each in a few calls; false: a mask, and a call for every window. The same values up to rounding."""
    skip_zero_advantage: bool = True
    """Leave rows without advantage out of the backward pass when beta is 0; the loss and its gradient stay the same."""
    gradient_checkpointing: bool = False
    """Recompute whole blocks in the backward pass: least memory, the time of one more forward pass."""
    selective_checkpointing: bool = False
    """Recompute norms and MLPs in the backward pass, but not attention: much less memory, a little more time, the same
    gradients. Refused together with `gradient_checkpointing`, which recomputes these parts too."""
    lora: Lora = Lora()
    rollout_engine: Literal["transformers", "vllm", "vllm_server"] = "transformers"
    """What samples the completions: the policy itself, vLLM beside it in the same process, or a vLLM server on other
    GPUs (`rollout_server`). Sharded weights are gathered for vLLM."""
    rollout_server: RolloutServer | None = None
    """vllm_server: where it is; null for the other engines."""
    importance_cap: float | None = Field(2.0, gt=0)
    """vLLM: a token's gradient is weighted by its probability under the policy over that under the engine, at most by
    this (truncated importance sampling); null uses no weights. Needs `sampling.top_p` 1: the engine reports
    probabilities before the nucleus is cut."""
    rollout_gpu_share: float = Field(0.3, gt=0, lt=1)
    """vLLM: share of the GPU's memory for its weights and cache."""
    rollout_sleep: Literal[1, 2] | None = None
    """vLLM on a GPU: between rollouts the engine leaves its memory to the training (vLLM's sleep levels). 1 keeps its
    weights in main memory; 2 drops them, so that a step's second round (`refill`) gets them anew too. null: it stays
    awake."""
    rollout_max_len: int = Field(1024, ge=128)
    """vLLM: prompt plus completion, tokens; a prompt that leaves less than `sampling.max_tokens` is left out."""
    frame_cache_gb: float = Field(1.0, gt=0)
    """Decoded frames kept in memory, GiB; what falls out is decoded again."""
    save_steps: int = Field(100, ge=1)
    """Steps between two checkpoints."""
    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = []
    """Trackers that get every metric, besides the files. TensorBoard's event files are in reports/tensorboard/grpo, one
    folder per run; wandb and trackio need their own packages."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the passes, the weights beside an adapter and the model written; weights that train are float32."""
    guards: Guards = Guards()

    def deciding(self) -> dict[str, Any]:
        """The fields that can change the trained weights by more than rounding.

        Left out: memory and speed; the length of the run (`steps`); prompts per device and `rollout_max_len`, in whose
        place the stage adds the prompts of all devices and the prompts that were too long.
        """
        rows = {"prompts_per_step", "group_ranks", "micro_batch"}
        speed = {
            "encode_once",
            "share_prefix",
            "share_prefix_update",
            "skip_zero_advantage",
            "drop_ended",
            "varlen_attention",
        }
        memory = {"gradient_checkpointing", "selective_checkpointing", "cache_features_gb", "frame_cache_gb"}
        engine = {"rollout_server", "rollout_gpu_share", "rollout_sleep", "rollout_max_len"}
        return self.model_dump(exclude={"steps", *rows, *speed, *memory, *engine, *NO_RESULT})

    @property
    def sampled_by_vllm(self) -> bool:
        """Whether vLLM samples, beside the policy or as a server."""
        return self.rollout_engine != "transformers"

    @property
    def weights_dtype(self) -> Literal["float32", "bfloat16"]:
        """What the policy's own weights are held in: half precision where they stay as they are beside an adapter."""
        return self.dtype if self.lora.rank else "float32"

    @field_validator("selective_checkpointing")
    @classmethod
    def _one_checkpointing(cls, value: bool, others: ValidationInfo) -> bool:
        if value and others.data.get("gradient_checkpointing"):
            raise ValueError("gradient_checkpointing recomputes whole blocks already; set one of the two to false")
        return value
