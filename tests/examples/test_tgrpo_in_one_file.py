"""The example takes the first step that the stage takes."""

import pytest
import torch

from examples.tgrpo_in_one_file import Settings, make_questions, train_step
from tasks.core.models.load import load_model, load_processor
from tasks.core.train.clips import ClipStore
from tasks.grpo.data import Prompt, schedule
from tasks.grpo.train import run, trainer_of
from tasks.params import Grpo
from tests.support.graph import ROOT

MODEL = str(ROOT / "models/world/base")
SETTINGS = Settings(steps=1, prompts_per_step=3, group=4, shuffled=2, seed=3)
SAME = {
    "steps": 1,
    "prompts_per_step": 3,
    "group": 4,
    "objective": {"kind": "tgrpo_reward", "completions": 2},
    "loss_type": "dapo",
    "beta": 0.0,
    "sampling": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 64},
    "length": None,
    "learning_rate": 3e-4,
    "report_to": [],
}


def test_first_step_is_the_stages(tmp_path):
    processor = load_processor(MODEL)
    questions = make_questions(tmp_path / "clips", 6, seed=2, processor=processor)
    order = schedule(len(questions), 3, SETTINGS.seed)
    assert {questions[index].record.data_type for index in order} == {"video", "image"}

    model = load_model(MODEL, "float32", "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), lr=SETTINGS.learning_rate, weight_decay=0.0)
    step = train_step(model, processor, [questions[index] for index in order], optimizer, 1, SETTINGS)

    clips = {question.record.path: question.clip for question in questions}
    trainer = trainer_of(
        load_model(MODEL, "float32", "cpu"),
        processor,
        [Prompt(question.record, question.text) for question in questions],
        clips=ClipStore(lambda path, data_type: clips[path], 1.0),
        settings=Grpo(**SAME),
        seed=SETTINGS.seed,
        work=tmp_path / "work",
        on_skip=lambda record, reason: pytest.fail(reason),
        callbacks=[],
    )
    run(trainer, tmp_path / "work")
    logged = trainer.state.log_history[0]
    assert step.loss == pytest.approx(logged["loss"], abs=1e-5) and abs(step.loss) > 1e-3
    assert step.gradient_norm == pytest.approx(logged["grad_norm"], rel=1e-4)
    accuracy = [value for group in step.groups for value in group.accuracy]
    assert sum(accuracy) / len(accuracy) == pytest.approx(logged["accuracy"])
    shuffled = [value for group in step.groups for value in group.accuracy_shuffled]
    assert sum(shuffled) / len(shuffled) == pytest.approx(logged["accuracy_shuffled"])
