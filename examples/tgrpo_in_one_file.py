"""T-GRPO in one file: `python -m examples.tgrpo_in_one_file` trains the mini model.

One step, in the order of the code below:

    1. questions       a few records of the mini world; their clips are rendered, encoded, decoded and sampled
    2. rollouts        G completions of each prompt on its frames in order, G~ on the same frames shuffled
    3. rewards         accuracy + format, and the temporal bonus for correct completions (Video-R1, section 3.3)
    4. advantages      rewards minus their group's mean, over its standard deviation
    5. loss            minus the advantage-weighted probability ratio, in the mean over all tokens (GRPO as in DAPO)

It does what the stage `grpo` does with `objective.kind: tgrpo_reward` and `loss_type: dapo`: from the same seed both
sample the same completions and take the same first step (tests/examples holds that). What the stage adds makes it fast
(a clip encoded once, shared prefixes, packed rows), safe (resume, guards, lost clips) and wide (several processes,
vLLM, adapters, other objectives); none of that is here.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch

from tasks.core.engine.sampler import RowSampler, end_tokens, generation_settings, without_checkpoint_settings
from tasks.core.io.seeds import derive_seed
from tasks.core.models.inputs import encode, prompt_text
from tasks.core.models.load import load_model, load_processor
from tasks.core.prompts import messages
from tasks.core.rewards import accuracy, format_reward
from tasks.core.schemas.parsing import parse_record
from tasks.core.schemas.records import Record
from tasks.core.video import Clip, shuffle_clip, shuffle_order
from tasks.core.video.open import open_clip
from tasks.core.world.split import make_split
from tasks.grpo.data import schedule

VIDEO: dict[str, Any] = {"frames": 16, "fps": 2.0, "min_frames": 4, "min_pixels": 3136, "max_pixels": 3136}
PROMPT: dict[str, Any] = {"template": "brief", "system": "You are a helpful assistant."}


class Settings(NamedTuple):
    """What decides a run, in the words of params.yaml."""

    steps: int = 40
    prompts_per_step: int = 4
    group: int = 8
    """G: completions on ordered frames."""
    shuffled: int = 4
    """G~: completions on shuffled frames."""
    alpha: float = 0.3
    """The temporal bonus."""
    mu: float = 0.8
    """It is paid when ordered accuracy is at least this share of shuffled accuracy."""
    correct_above: float = 0.1
    """A completion is correct when its accuracy is greater than this."""
    learning_rate: float = 3e-4
    max_grad_norm: float = 1.0
    temperature: float = 1.0
    max_tokens: int = 64
    seed: int = 0


class Question(NamedTuple):
    """A record, its rendered prompt and its decoded clip."""

    record: Record
    text: str
    clip: Clip


class Group(NamedTuple):
    """One prompt's completions on ordered frames, and what came of them."""

    question: Question
    completions: list[list[int]]
    """G lists of token ids, each up to and with its end token."""
    accuracy: list[float]
    accuracy_shuffled: list[float]
    """G~ values; empty for an image."""
    advantages: torch.Tensor
    """(G,)."""


class StepResult(NamedTuple):
    """What one step came to."""

    loss: float
    gradient_norm: float
    groups: list[Group]


# 1. Questions.


def make_questions(folder: Path, rows: int, seed: int, processor: Any) -> list[Question]:
    """Render `rows` questions of the mini world into `folder` and read them back as the pipeline would."""
    questions = []
    for number, raw in enumerate(make_split(folder, rows, seed, label="clips")):
        record = parse_record(raw | {"path": str(folder / raw["path"])}, f"row {number}")
        clip = open_clip(record.path, record.data_type, **VIDEO)
        questions.append(Question(record, prompt_text(processor, messages(record, **PROMPT)), clip))
    return questions


# 2. Rollouts.


def sample(
    model: Any, processor: Any, question: Question, clip: Clip, seeds: Sequence[int], settings: Settings
) -> list[list[int]]:
    """One completion for each seed, as token ids up to and with the end token."""
    copies, ends = len(seeds), end_tokens(model, processor)
    inputs = encode(processor, [question.text] * copies, [clip] * copies, [question.record.data_type] * copies)
    sampler = RowSampler(seeds, settings.max_tokens, settings.temperature, top_p=1.0, device="cpu")
    config = generation_settings(processor, ends, settings.max_tokens)
    with torch.no_grad(), without_checkpoint_settings(model):
        output = model.generate(**inputs, generation_config=config, logits_processor=[sampler])
    completions = []
    for tokens in output[:, inputs["input_ids"].shape[1] :].tolist():
        end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
        completions.append(tokens[: end + 1])
    return completions


def shuffled_clip(question: Question, step: int, seed: int) -> Clip | None:
    """The clip with its frames in another order; None for what has no order to lose."""
    if question.record.data_type != "video":
        return None
    frames = len(question.clip.frames)
    order = shuffle_order(frames, derive_seed(seed, "shuffle", step, question.record.problem_id), "frame")
    return None if order == list(range(frames)) else shuffle_clip(question.clip, order)


# 3. and 4. Rewards and advantages.


def roll_out(model: Any, processor: Any, question: Question, step: int, slot: int, settings: Settings) -> Group:
    """Answer one prompt under both views and score what comes; `slot` is its index in the step."""

    def completions(clip: Clip, side: str, count: int) -> list[list[int]]:
        seeds = [derive_seed(settings.seed, "rollout", step, slot, 0, side, copy) for copy in range(count)]
        return sample(model, processor, question, clip, seeds, settings)

    def texts(of: list[list[int]]) -> list[str]:
        return [processor.tokenizer.decode(ids, skip_special_tokens=True) for ids in of]

    def right(of: list[str]) -> list[float]:
        return [accuracy(question.record.problem_type, text, question.record.solution).value for text in of]

    ordered = completions(question.clip, "ordered", settings.group)
    correct = right(texts(ordered))
    other = shuffled_clip(question, step, settings.seed)
    correct_shuffled = right(texts(completions(other, "perturbed", settings.shuffled))) if other else []
    rewards = [value + format_reward(text) for value, text in zip(correct, texts(ordered), strict=True)]
    if temporal_bonus_is_due(correct, correct_shuffled, settings.mu):
        bonus = [settings.alpha * (value > settings.correct_above) for value in correct]
        rewards = [reward + extra for reward, extra in zip(rewards, bonus, strict=True)]
    return Group(question, ordered, correct, correct_shuffled, advantages_of(torch.tensor(rewards)))


def temporal_bonus_is_due(correct: Sequence[float], correct_shuffled: Sequence[float], mu: float) -> bool:
    """Whether ordered frames do not fall behind shuffled ones; never for an image."""
    return bool(correct_shuffled) and mean(correct) >= mu * mean(correct_shuffled)


def advantages_of(rewards: torch.Tensor) -> torch.Tensor:
    """(G,) rewards as multiples of their standard deviation from the group's mean; 0 where all are alike."""
    return (rewards - rewards.mean()) / (rewards.std() + 1e-4)


# 5. Loss.


def log_probabilities(model: Any, processor: Any, group: Group, temperature: float) -> tuple[torch.Tensor, ...]:
    """Log-probability of every completion token under the policy, and which of them are there: both (G, T)."""
    question, copies = group.question, len(group.completions)
    kinds = [question.record.data_type] * copies
    inputs = encode(processor, [question.text] * copies, [question.clip] * copies, kinds)
    longest = max(map(len, group.completions))
    filler = processor.tokenizer.pad_token_id
    tokens = torch.tensor([ids + [filler] * (longest - len(ids)) for ids in group.completions])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in group.completions])
    prompt_tokens = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], tokens], dim=1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], mask], dim=1)
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(tokens)], dim=1)
    # The scores at a place are those of the token behind it.
    scores = model(**inputs, use_cache=False).logits[:, prompt_tokens - 1 : -1] / temperature
    return scores.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1), mask


def group_loss(model: Any, processor: Any, group: Group, tokens_of_step: int, temperature: float) -> torch.Tensor:
    """This group's part of the step's loss.

    The completions were sampled from these very weights, so the ratio of probabilities is 1 in value, clipping has
    nothing to clip, and only its gradient counts.
    """
    current, mask = log_probabilities(model, processor, group, temperature)
    ratio = torch.exp(current - current.detach())
    return -(ratio * group.advantages.unsqueeze(1) * mask).sum() / tokens_of_step


def train_step(
    model: Any, processor: Any, questions: Sequence[Question], optimizer: Any, step: int, settings: Settings
) -> StepResult:
    """Roll out, score, and take one step on the weights; `step` counts from 1."""
    model.eval()
    groups = [roll_out(model, processor, question, step, slot, settings) for slot, question in enumerate(questions)]
    model.train()
    optimizer.zero_grad()
    tokens = sum(len(ids) for group in groups for ids in group.completions)
    loss = 0.0
    for group in groups:
        part = group_loss(model, processor, group, tokens, settings.temperature)
        part.backward()
        loss += part.item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
    optimizer.step()
    return StepResult(loss, norm.item(), groups)


def main() -> None:
    """Train and print a line for each step."""
    parser = argparse.ArgumentParser(description="T-GRPO on the mini model, in one file.")
    parser.add_argument("--model", default="models/world/base", help="checkpoint to start from")
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    settings = Settings(steps=arguments.steps)
    processor = load_processor(arguments.model)
    model = load_model(arguments.model, "float32", "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0)
    with tempfile.TemporaryDirectory() as folder:
        questions = make_questions(Path(folder), 64, seed=2, processor=processor)
    order = iter(schedule(len(questions), settings.steps * settings.prompts_per_step, settings.seed))
    for step in range(1, settings.steps + 1):
        chosen = [questions[next(order)] for _ in range(settings.prompts_per_step)]
        result = train_step(model, processor, chosen, optimizer, step, settings)
        ordered = mean(value for group in result.groups for value in group.accuracy)
        shuffled = mean([value for group in result.groups for value in group.accuracy_shuffled] or [0.0])
        numbers = f"loss {result.loss:+.4f}  gradient {result.gradient_norm:6.3f}"
        print(f"step {step:3d}  {numbers}  accuracy {ordered:.2f}  shuffled {shuffled:.2f}", flush=True)


if __name__ == "__main__":
    main()
