"""Typed sections of params.yaml: one class per section, one section per stage.

Configs stop at the door: a stage's `__main__` unpacks its section and passes plain arguments on.
Unknown keys are refused with the nearest valid name. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from tasks import paths


class ParamsError(ValueError):
    """params.yaml is missing, malformed or holds an unknown key; the text says which and what is valid."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Prompt(Section):
    """One prompt for every stage: annotation, SFT, RL, benchmark and inference."""

    template: Literal["video_r1", "brief"] = "brief"
    """`video_r1`: the published wording. `brief`: the same contract in a sentence, for models of few weights."""
    system: str = "You are a helpful assistant."
    """System message."""


class Video(Section):
    """How a clip becomes pixels; the same for every stage."""

    frames: int = Field(16, ge=2)
    """Upper bound of frames per clip; even (one temporal patch holds two frames)."""
    fps: float = Field(2.0, gt=0)
    """Sampling rate aimed at before the bound applies."""
    min_frames: int = Field(4, ge=2)
    """Lower bound of frames per clip."""
    min_pixels: int = Field(3136, ge=784)
    """Frames and images are scaled up to at least this many pixels."""
    max_pixels: int = Field(3136, ge=784)
    """Frames and images are scaled down to at most this many pixels."""
    disk_cache_gb: float = Field(4.0, ge=0)
    """Decoded and resized frames kept under .cache/frames for all stages, GiB; 0 decodes anew in every stage."""
    decode_workers: int = Field(1, ge=0)
    """Threads that decode ahead while a model computes, in each process; 0 decodes a clip when it is asked for."""

    def sampling(self) -> dict[str, Any]:
        """What decides a clip's pixels: the fields that belong in keys, and the ones that dvc.yaml names."""
        return self.model_dump(exclude={"disk_cache_gb", "decode_workers"})

    def opening(self) -> dict[str, Any]:
        """Arguments of `open_clip`."""
        return self.model_dump(exclude={"decode_workers"})


class Engine(Section):
    """Where answers are generated (annotate, benchmark, ask)."""

    backend: Literal["vllm", "transformers"] = "vllm"
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"
    max_model_len: int = Field(1024, ge=128)
    """Prompt plus completion, tokens."""
    gpu_memory_utilization: float = Field(0.8, gt=0, le=1)
    kv_cache_gb: int = Field(1, ge=1)
    """Key-value cache on a CPU build, GiB."""
    tensor_parallel: int = Field(1, ge=1)
    batch_size: int = Field(64, ge=1)
    """Requests handed to the engine at once; also the unit of resume."""
    rows_per_call: int | None = Field(None, ge=1)
    """transformers: most answers of a `generate` call; null takes a whole batch. vLLM has calls of its own."""
    group_by_length: bool = True
    """transformers: prompts of like length share a call, with less padding; matters where a batch takes several."""


class Source(Section):
    """One source of records."""

    name: str
    format: Literal["world", "video_r1"]
    """`world`: rendered here. `video_r1`: a JSON array, JSONL or parquet file in Video-R1's record format."""
    split: Literal["train", "rl", "test"]
    """Which table the records go to: annotated by the teacher, used for RL, or held out."""
    annotations: str | None = None
    """`video_r1`: path of the record file."""
    media_root: str | None = None
    """`video_r1`: folder that record paths are relative to; nothing outside it is read."""
    rows: int | None = Field(None, ge=1)
    """`world`: how many rows to render. `video_r1`: at most this many rows, drawn by `seed`."""
    seed: int = 0
    """`world`: scene seed; splits must use different seeds."""
    shortcut_bias: float = Field(0.0, ge=0, le=1)
    """`world`: share of moving figures whose side and colour give their direction away."""


class Ingest(Section):
    sources: list[Source] = Field(min_length=1)
    video_share: float | None = Field(None, ge=0, le=1)
    """Share of video rows in train and rl after mixing; null keeps what the sources hold."""
    workers: int = Field(2, ge=1)
    """Processes that render, decode and hash."""


class Validate(Section):
    max_quarantined_share: float = Field(0.5, ge=0, le=1)
    """`records` fails above this share of quarantined rows."""
    min_rows: int = Field(1, ge=1)
    """Fewest rows a table may hold."""


class Sampling(Section):
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(512, ge=1)


class Annotate(Section):
    sampling: Sampling = Sampling(temperature=1.0, top_p=0.95, max_tokens=512)


class Filter(Section):
    min_reward: float = Field(0.6, ge=0, le=1)
    """A row is kept when its answer reward is greater than this."""
    min_think_chars: int = Field(10, ge=0)
    max_think_chars: int = Field(4000, ge=1)
    max_repeat_share: float = Field(0.6, gt=0, le=1)
    """Largest share of a reasoning's 4-grams that may be repeats of earlier ones."""
    min_ascii_share: float = Field(0.9, ge=0, le=1)
    """Language rule: smallest share of ASCII among the letters of a reasoning."""


class Sft(Section):
    epochs: float = Field(1.0, gt=0)
    learning_rate: float = Field(1e-6, gt=0)
    batch_size: int = Field(1, ge=1)
    """Rows per device and step."""
    gradient_accumulation: int = Field(1, ge=1)
    warmup_ratio: float = Field(0.0, ge=0, le=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(5.0, gt=0)
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    group_by_length: bool = False
    """Batches of rows of like length: less padding, less random order."""
    padding_free: bool = True
    """Lay the rows of a batch end to end instead of padding them to the longest; the same loss and gradients."""
    train_vision: bool = True
    """Whether the vision encoder's weights train."""
    frame_cache_gb: float = Field(1.0, gt=0)
    """Decoded frames kept in memory, GiB; what falls out is decoded again."""
    cache_features_gb: float = Field(1.0, ge=0)
    """Vision features kept in memory where `train_vision` is false, GiB, so that a medium is encoded once in a run; 0
    encodes it for every row, as needed under FSDP and ZeRO."""
    save_steps: int = Field(1000, ge=1)
    dtype: Literal["float32", "bfloat16"] = "float32"


class Temporal(Section):
    """The ordered/shuffled contrast of T-GRPO (paper section 3.3)."""

    enabled: bool = True
    mode: Literal["reward", "advantage", "logprob"] = "reward"
    """`reward`: the paper's bonus on correct ordered answers. `advantage`: added after normalisation, times p - p~.
    `logprob`: added after normalisation, times how much likelier the answer is on ordered than on shuffled frames."""
    shuffled: int = Field(4, ge=1)
    """G~: answers on shuffled frames per prompt; `logprob` needs none."""
    alpha: float = Field(0.3, ge=0)
    nats: float = Field(1.0, gt=0)
    """`logprob`: the log-probability lost to shuffling, summed over an answer, at which 63 % of alpha is paid."""
    centred: bool = True
    """`logprob`: pay an answer for how much more it hangs on frame order than the prompt's correct answers do in the
    mean, so that what some gain others pay; false pays all of it."""
    token_share: float = Field(0.0, ge=0, le=1)
    """`logprob`: share of an answer's advantage that its tokens get by how much frame order decides each of them."""
    mu: float = Field(0.8, ge=0)
    """The bonus is granted when p >= mu * p~."""
    correct_above: float = Field(0.1, ge=0, le=1)
    """An answer counts as correct when its accuracy reward is greater than this."""
    shuffle_unit: Literal["frame", "temporal_patch"] = "frame"


class Length(Section):
    """Length reward (paper section 3.3): omega for correct answers inside the window."""

    enabled: bool = True
    omega: float = Field(0.2, ge=0)
    min_tokens: int = Field(320, ge=0)
    max_tokens: int = Field(512, ge=1)


class Lora(Section):
    """Low-rank adapters in place of all weights."""

    rank: int = Field(0, ge=0)
    """0 trains all weights."""
    alpha: int = Field(32, ge=1)
    """The adapter's output is scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "group": 8,
        "beta": 0.04,
        "loss_type": "grpo",
        "importance_level": "token",
        "scale_rewards": "group",
        "temporal": {
            **{"enabled": True, "mode": "reward", "shuffled": 4, "alpha": 0.3, "mu": 0.8},
            **{"correct_above": 0.1, "shuffle_unit": "frame"},
        },
        "length": {"enabled": True, "omega": 0.2, "min_tokens": 320, "max_tokens": 512},
        "reward_variant": "strict",
        "format_weight": 1.0,
        "refill": 0,
    },
    "tuned": {
        "group": 12,
        "beta": 0.0,
        "loss_type": "grpo",
        "importance_level": "token",
        "scale_rewards": "group",
        "temporal": {
            **{"enabled": True, "mode": "logprob", "alpha": 2.0, "centred": True, "token_share": 0.0},
            **{"correct_above": 0.1, "shuffle_unit": "frame"},
        },
        "length": {"enabled": False},
        "reward_variant": "robust",
        "format_weight": 1.0,
    },
}
"""`grpo.preset`: what is rewarded and optimised, by name. `paper` is the published objective (arXiv 2503.21776 and its
code); the sources of its values are in profiles/video_r1_7b.yaml."""


class Grpo(Section):
    preset: Literal["paper", "tuned"] | None = None
    """A named objective (PRESETS): its values replace those written beside it. null takes the values as written."""
    steps: int = Field(60, ge=1)
    """Optimizer steps."""
    prompts_per_step: int = Field(4, ge=1)
    """Prompts per device (per team of `group_ranks` devices) and step; each gets `group` ordered answers."""
    group: int = Field(8, ge=2)
    """G: answers on ordered frames per prompt."""
    group_ranks: int = Field(1, ge=1)
    """Devices that share the rows of `prompts_per_step` prompts; above 1 a group may lie on several devices."""
    refill: int = Field(0, ge=0)
    """Dynamic sampling: how often a prompt whose answers teach nothing is replaced by another within its step."""
    learning_rate: float = Field(1e-6, gt=0)
    scheduler: Literal["linear", "cosine", "constant"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(5.0, gt=0)
    beta: float = Field(0.04, ge=0)
    """Weight of the KL penalty against the SFT model."""
    epsilon: float = Field(0.2, gt=0)
    epsilon_high: float | None = Field(None, gt=0)
    """Upper clipping distance (`cispo`: upper bound of the ratio); null is `epsilon`."""
    importance_level: Literal["token", "sequence"] = "token"
    """What a probability ratio is taken over; `sequence` makes GSPO of `grpo` and goes with `luspo`."""
    loss_type: Literal["grpo", "dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"] = "grpo"
    """TRL's losses; they differ in clipping and in what a token's weight is divided by."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    sampling: Sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=768)
    temporal: Temporal = Temporal()
    length: Length = Length()
    reward_variant: Literal["strict", "robust"] = "robust"
    format_weight: float = Field(1.0, ge=0)
    train_vision: bool = True
    """Whether the vision encoder's weights train."""
    micro_batch: int | None = Field(None, ge=1)
    """Rows per forward and backward; a divisor of prompts_per_step * group. null takes all rows of a step at once."""
    encode_once: bool = True
    """One vision pass per clip, shared by its rows and by orders of whole temporal patches (`temporal.shuffle_unit`);
    false gives every row its own, as needed under FSDP and ZeRO-3."""
    cache_features_gb: float = Field(1.0, ge=0)
    """Vision features kept in memory with `encode_once`, GiB: where `train_vision` is false for the run, so that each
    medium is encoded once; otherwise from a step's rollouts to its update, for passes without gradient. 0: none."""
    share_prefix: bool = True
    """Rollouts read each prompt once and copy its keys and values; false reads it for every answer."""
    drop_ended: bool = True
    """Rollouts on a processor take answers out of the batch as they end and attend to prompts in place, uncopied, with
    `share_prefix` and weights not sharded; false, or otherwise: transformers' `generate`, as long as the longest."""
    share_prefix_update: bool = True
    """Loss and reference read each prompt once for all its answers in a micro-batch; false reads it for each."""
    skip_zero_advantage: bool = True
    """Leave rows without advantage out of the backward pass when beta is 0; the loss and its gradient stay the same."""
    gradient_checkpointing: bool = False
    """Recompute whole blocks in the backward pass: least memory, a forward pass more time."""
    selective_checkpointing: bool = False
    """Recompute norms and MLPs in the backward pass, attention not: much less memory, a little more time, the same
    gradients. Refused beside `gradient_checkpointing`, which recomputes these parts too."""
    lora: Lora = Lora()
    rollout_engine: Literal["transformers", "vllm"] = "transformers"
    """Who samples the answers: the policy itself, or vLLM beside it in the same process (weights not sharded)."""
    rollout_gpu_share: float = Field(0.3, gt=0, lt=1)
    """vLLM: share of the GPU's memory for its weights and cache."""
    rollout_max_len: int = Field(1024, ge=128)
    """vLLM: prompt plus answer, tokens."""
    frame_cache_gb: float = Field(1.0, gt=0)
    """Decoded frames kept in memory, GiB; what falls out is decoded again."""
    save_steps: int = Field(100, ge=1)
    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = []
    """Trackers that get every metric beside the files. TensorBoard's event files lie in reports/tensorboard/grpo, one
    folder per run; wandb and trackio want their own packages installed."""
    dtype: Literal["float32", "bfloat16"] = "float32"

    @field_validator("selective_checkpointing")
    @classmethod
    def _one_checkpointing(cls, value: bool, others: ValidationInfo) -> bool:
        if value and others.data.get("gradient_checkpointing"):
            raise ValueError("gradient_checkpointing recomputes whole blocks already; set one of the two to false")
        return value

    @model_validator(mode="before")
    @classmethod
    def _lay_preset(cls, values: Any) -> Any:
        name = values.get("preset") if isinstance(values, dict) else None
        if name not in PRESETS:
            return values
        laid = dict(values)
        for key, value in PRESETS[name].items():
            own = laid.get(key, {})
            own = own.model_dump() if isinstance(own, BaseModel) else own
            laid[key] = {**own, **value} if isinstance(value, dict) else value
        return laid


class SuiteRun(Section):
    """One public benchmark to run."""

    name: Literal["vsi_bench", "video_mmmu", "mmvu", "mvbench", "tempcompass", "video_mme", "video_holmes", "world"]
    annotations: str
    """Folder of the official annotation files, below `annotations_root` (the mini world's: `data/ingest`)."""
    media: str | None = None
    """Folder of the clips; null takes `annotations`."""
    protocols: list[Literal["official", "video_r1"]] = Field(["official", "video_r1"], min_length=1)
    """`official`: the benchmark's own prompt, decoding and scorer. `video_r1`: those of Video-R1's evaluation."""
    video_r1_file: str | None = None
    """Video-R1's own file (`eval_<name>.json`) for protocol `video_r1`; null makes its form from the official files."""
    subset: str | None = None
    """VSI-Bench: `debiased` or `pruned`. VideoMMMU: `question_only`."""
    limit: int | None = Field(None, ge=1)
    """At most this many questions of each file, evenly spread; null takes all."""


class Judge(Section):
    """A served model that grades what no rule can (MMVU, TempCompass captions); its key is in OPENAI_API_KEY."""

    base_url: str
    model: str
    max_tokens: int = Field(256, ge=1)


class Benchmark(Section):
    sampling: Sampling = Sampling(temperature=0.01, top_p=0.001, max_tokens=1024)
    """The mini world, and protocol `video_r1`."""
    rows: int | None = Field(None, ge=1)
    """At most this many test rows; null takes all."""
    views: list[Literal["ordered", "shuffled", "no_video"]] = ["ordered", "shuffled", "no_video"]
    """Ordered frames, and two controls: shuffled frames and a prompt without its medium."""
    reward_variant: Literal["strict", "robust"] = "robust"
    annotations_root: str = "data/benchmarks"
    """Folder of the public benchmarks' annotation files; a change in it reruns benchmark. Media may lie elsewhere."""
    suites: list[SuiteRun] = []
    """Public benchmarks to run, each on every view of `views`."""
    frames: list[int] = Field([16], min_length=1)
    """Frame caps to run each suite at; `video.frames` is for the other stages."""
    max_pixels: int | None = Field(None, ge=784)
    """Frames of the suites are scaled down to at most this many pixels; null takes `video.max_pixels`."""
    official_max_tokens: int | None = Field(None, ge=1)
    """Longest answer under `official`; null takes each benchmark's own, which may be too short to reason in."""
    judge: Judge | None = None
    """Grader; null leaves judged parts unscored."""


class Report(Section):
    examples: int = Field(8, ge=0)
    """Clips shown as frame strips with the models' reasoning."""
    strip_frames: int = Field(8, ge=1)
    """Frames per strip."""


class Skill(Section):
    """One step of the curriculum that makes the mini base model and teacher."""

    name: str
    steps: int = Field(ge=1)
    rows: int = Field(ge=1)
    """Rows per step."""
    mix: dict[str, float]
    """Kind of row -> share."""
    decay: bool = False
    """Whether the learning rate decays (cosine to 5 %) instead of staying at its peak."""
    after: str | None = None
    """Model that it starts from, saved by an earlier skill; null goes on from the skill before."""
    save_as: str | None = None
    """Folder of models/world in which its result is published, and scored."""


class World(Section):
    """The mini models (frozen stage): architecture and curriculum."""

    hidden_size: int = 128
    layers: int = 4
    heads: int = 4
    vision_layers: int = 2
    vocabulary: int = 600
    muon_lr: float = 0.02
    adamw_lr: float = 0.003
    curriculum: list[Skill] = []
    eval_rows: int = 300


class Params(Section):
    """The whole of params.yaml."""

    seed: int = 0
    data_root: str = "data/raw"
    """Folder of the record files of `video_r1` sources; a change in it reruns ingest. Media may lie elsewhere."""
    models: dict[str, str]
    """Model name -> folder. `base` and `teacher` are inputs; every name is a row of the benchmark."""
    prompt: Prompt = Prompt()
    video: Video = Video()
    engine: Engine = Engine()
    world: World = World()
    ingest: Ingest
    validate_: Validate = Field(Validate(), alias="validate")
    annotate: Annotate = Annotate()
    filter: Filter = Filter()
    sft: Sft = Sft()
    grpo: Grpo = Grpo()
    benchmark: Benchmark = Benchmark()
    report: Report = Report()


def load(path: Path = paths.PARAMS) -> Params:
    """Read and check a params file.

    Raises:
        ParamsError: missing file, bad YAML, unknown key (with the nearest valid name) or bad value (with its place).
    """
    if not path.exists():
        raise ParamsError(
            f"{path}: no such file; run from the project root, or `python -m tasks.profile mini` to make one"
        )
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from error
    try:
        loaded = Params.model_validate(raw)
    except ValidationError as error:
        raise ParamsError("\n".join(_explain(path, item) for item in error.errors())) from error
    for number, source in enumerate(loaded.ingest.sources):
        if source.annotations is not None and not Path(source.annotations).is_relative_to(loaded.data_root):
            place = f"ingest.sources.{number}.annotations: {source.annotations}"
            reason = f"lies outside data_root ({loaded.data_root}); DVC would not see it change"
            raise ParamsError(f"{path}: {place} {reason}")
    return loaded


def _explain(path: Path, item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{path}: {place}: {item['msg']} (got {item['input']!r})"
    *parents, key = [str(part) for part in item["loc"]]
    near = difflib.get_close_matches(key, _fields(parents), n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else f"; valid: {', '.join(sorted(_fields(parents)))}"
    return f"{path}: unknown key '{place}'{hint}"


def _fields(parents: list[str]) -> list[str]:
    """Valid keys of the section at `parents` (list indices are skipped)."""
    model: Any = Params
    for part in parents:
        if part.isdigit():
            continue
        fields = {(f.alias or n): f for n, f in model.model_fields.items()}
        model = _section_of(fields[part].annotation)
    return [f.alias or n for n, f in model.model_fields.items()]


def _section_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _section_of(argument)) is not None:
            return found
    return None
