"""A tiny policy and what it needs to be trained by T-GRPO in a test."""

import torch
from transformers import GenerationConfig

from measure.rehearsal.stage import parity_score as parity_score
from tasks.core.models.load import load_processor
from tasks.core.models.visual_tokens import visual_token_ids
from tasks.core.schemas.records import Record
from tasks.core.train.clips import ClipStore
from tasks.core.train.sharding import load_policy
from tasks.core.video import VideoError
from tasks.grpo import trainer as trainer_module
from tasks.grpo.data import open_views, render
from tasks.grpo.objectives.perturbations import Shuffle
from tasks.grpo.train import train
from tasks.params import Grpo

LOGPROB = {"kind": "logprob", "alpha": 0.3}


def settings(**changes):
    base = {
        "steps": 4,
        "prompts_per_step": 2,
        "group": 4,
        "learning_rate": 3e-3,
        "beta": 0.0,
        "save_steps": 2,
        "sampling": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 6},
        "objective": {"kind": "tgrpo_reward", "completions": 2},
        "length": None,
    }
    return Grpo(**{**base, **changes})


def record(number, data_type="video", path=None):
    return Record(
        problem_id=number,
        problem="Which way does the red ball move?" + " Look well." * number,
        data_type=data_type,
        problem_type="multiple choice",
        options=["A. left", "B. right"],
        process="",
        solution="<answer>B</answer>",
        path=path or f"clip {number}",
    )


RECORDS = [record(0), record(1, "image"), record(2), record(3), record(4, "image")]


class Stage:
    """A policy and what it needs to train; `stop_at` interrupts when so many clips were read, `workers` read ahead."""

    def __init__(self, folder, make_clip, records=RECORDS, stop_at=None, workers=0):
        self.processor = load_processor(folder)
        self.model = load_policy(folder)
        self.prompts = render(records, self.processor, template="brief", system="You are a helpful assistant.")
        self.skipped = []
        self.asked = 0
        self.gone: set[str] = set()

        def read(path, data_type):
            self.asked += 1
            if stop_at is not None and self.asked > stop_at:
                raise KeyboardInterrupt
            if path == "broken" or path in self.gone:
                raise VideoError(path, "torn")
            seed = sum(path.encode())
            return make_clip(frames=1, fps=0, seed=seed) if data_type == "image" else make_clip(frames=4, seed=seed)

        # Room for no second clip, so that every step asks for its own.
        self.clips = ClipStore(read, 1e-9, workers)

    def skip(self, row, reason):
        self.skipped.append((row.path, reason))

    def views(self, row, step=1, unit="frame"):
        return open_views(
            self.prompts[row],
            step,
            clips=self.clips,
            processor=self.processor,
            perturbations=(Shuffle(unit=unit),),
            seed=3,
            on_skip=self.skip,
        )

    def train(self, work, values, stop=None, callbacks=()):
        return train(
            self.model,
            self.processor,
            self.prompts,
            clips=self.clips,
            settings=values,
            seed=3,
            work=work,
            curve=work / "curve.csv",
            on_skip=self.skip,
            stop=stop,
            callbacks=callbacks,
        )


def generation(stage, **changes):
    tokenizer = stage.processor.tokenizer
    return GenerationConfig(
        max_new_tokens=6,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=[tokenizer.eos_token_id],
        suppress_tokens=visual_token_ids(stage.processor),
        **changes,
    )


def shown(views):
    return [views.ordered, *views.perturbed]


def some_views(stage):
    return [view.encoded for row in (0, 1, 3) for view in shown(stage.views(row))]


def opened(stage, work, **changes):
    """A trainer after its first rollouts, and their buffer."""
    values = settings(**changes)
    made = {}
    original = trainer_module.VideoGRPOTrainer.train
    try:
        trainer_module.VideoGRPOTrainer.train = lambda self, **_: made.update(trainer=self)
        stage.train(work, values)
    finally:
        trainer_module.VideoGRPOTrainer.train = original
    trainer = made["trainer"]
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    rows = [trainer.train_dataset[i // values.group] for i in range(values.group * values.prompts_per_step)]
    return trainer, trainer._generate_and_score_completions(rows)


def weights(stage):
    return {name: value.clone() for name, value in stage.model.state_dict().items()}


def logp_alone(model, encoded, ids):
    """Log-probability of an answer by a plain forward of its row."""
    return float(tokens_alone(model, encoded, ids).sum())


@torch.no_grad()
def tokens_alone(model, encoded, ids):
    """Log-probabilities of its tokens."""
    logits = model(
        input_ids=torch.cat([encoded.ids, ids])[None],
        mm_token_type_ids=torch.cat([encoded.kinds, torch.zeros_like(ids)])[None],
        second_per_grid_ts=encoded.seconds_per_grid,
        pixel_values_videos=encoded.pixels,
        video_grid_thw=encoded.grid,
    ).logits[0]
    return logits[len(encoded.ids) - 1 : -1].log_softmax(-1).gather(-1, ids[:, None])[:, 0]
