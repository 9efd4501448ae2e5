"""Training never lies and never loses its work: what SFT and GRPO share, through their own stages."""

import dataclasses
import importlib
import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import Trainer, TrainerCallback

from tasks import paths
from tasks.core.io.errors import StageError
from tasks.core.io.tables import write_table
from tasks.core.schemas.records import RECORD_SCHEMA
from tasks.core.train.checkpoints import newest_checkpoint
from tasks.core.train.guards import DivergedError
from tasks.core.train.runs import begin_training
from tasks.grpo import collect
from tasks.params import load
from tests.support.sft_stage import record
from tests.support.training_project import make_project

pytestmark = pytest.mark.slow

STAGES = ("sft", "grpo")


@pytest.fixture
def project(tiny_model, tmp_path, monkeypatch):
    """A project folder whose two training stages take a few short steps; `change(**params)` edits a section."""
    monkeypatch.chdir(tmp_path)
    rows = [record(number, *(("video", "clip.mp4") if number % 2 else ("image", "still.png"))) for number in range(8)]
    make_project(tmp_path, tiny_model, sft=rows, rl=rows)
    change("sft", batch_size=2, save_steps=1, frame_cache_gb=1.0)
    change("grpo", steps=4, save_steps=1, report_to=[])
    return tmp_path


def change(section, **values):
    params = yaml.safe_load(paths.PARAMS.read_text())
    params[section].update(values)
    paths.PARAMS.write_text(yaml.safe_dump(params))


def run(stage):
    return importlib.import_module(f"tasks.{stage}.__main__").main()


def out(stage):
    return {"sft": paths.SFT_MODEL, "grpo": paths.GRPO_MODEL}[stage]


def works(stage):
    return sorted(path.parent for path in (paths.WORK_MODELS / stage).glob("*/work.json"))


class At(TrainerCallback):
    """Calls `act(model)` at the beginning of a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step_begin(self, args, state, control, model=None, **_):
        if state.global_step + 1 == self.step:
            self.act(model)


def at_step(monkeypatch, step, act):
    original = Trainer.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.add_callback(At(step, act))

    monkeypatch.setattr(Trainer, "__init__", init)


def stop(model):
    raise KeyboardInterrupt


def interrupted(monkeypatch, stage, step):
    """Run a stage that is cut off at the beginning of a step."""
    with monkeypatch.context() as patch:
        at_step(patch, step, stop)
        with pytest.raises(KeyboardInterrupt):
            run(stage)


def poison(value):
    def act(model):
        weight = next(p for p in model.parameters() if p.requires_grad)
        weight.register_hook(lambda gradient: gradient * value)

    return act


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=["not a number", "infinite"])
def test_a_gradient_that_is_not_finite_stops_with_the_step_and_keeps_the_last_checkpoint(
    project, monkeypatch, stage, value
):
    published = out(stage)
    if stage == "grpo":  # with a penalty every step has a gradient
        change("grpo", beta=0.04)
    else:
        shutil.rmtree(published)
    at_step(monkeypatch, 3, poison(value))
    with pytest.raises(
        DivergedError, match=rf"^{stage}: step 3: the gradient's norm is .*nothing is published"
    ) as told:
        run(stage)
    [work] = works(stage)
    assert newest_checkpoint(work).name == "checkpoint-2" and "checkpoint-2 is kept" in str(told.value)
    assert not published.exists()


def test_a_loss_that_is_not_finite_stops_although_the_gradient_is(project, monkeypatch):
    original = Trainer.training_step

    def step(self, *args, **kwargs):
        loss = original(self, *args, **kwargs)
        return loss * float("nan") if self.state.global_step == 1 else loss

    monkeypatch.setattr(Trainer, "training_step", step)
    with pytest.raises(DivergedError, match="sft: step 2: the loss is not finite"):
        run("sft")


@pytest.mark.parametrize("stage", STAGES)
def test_a_learning_rate_past_reason_publishes_nothing(project, stage):
    if stage == "sft":
        shutil.rmtree(paths.SFT_MODEL)
    change(stage, learning_rate=1e30, **({"beta": 0.04} if stage == "grpo" else {}))
    with pytest.raises(DivergedError, match=rf"{stage}: step \d: the (loss|gradient's norm|weights' norm) is"):
        run(stage)
    assert not out(stage).exists()
    [work] = works(stage)
    for checkpoint in work.glob("checkpoint-*/model.safetensors"):
        assert all(torch.isfinite(value).all() for value in load_file(checkpoint).values())


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=["not a number", "infinite"])
def test_a_reward_that_is_not_finite_stops_and_is_not_taken_for_a_lost_prompt(project, monkeypatch, value):
    original, groups = collect.score_group, []

    def score(*args, **kwargs):
        groups.append(original(*args, **kwargs))
        wrong = groups[-1]._replace(total=[value, *groups[-1].total[1:]])
        return wrong if len(groups) == 3 else groups[-1]

    monkeypatch.setattr(collect, "score_group", score)
    with pytest.raises(DivergedError, match=r"^grpo: step 2: a reward of problem_id \d is not finite; .*-1 is kept"):
        run("grpo")
    assert not paths.GRPO_MODEL.exists()


@pytest.mark.parametrize("stage", STAGES)
def test_a_model_that_read_no_row_is_not_published(project, stage):
    for name in ("clip.mp4", "still.png"):
        (project / name).unlink()
    before = {path: path.stat().st_mtime_ns for path in out(stage).glob("*")}
    with pytest.raises(StageError, match=rf"^{stage}: every row was left out, the first: no such file; nothing is"):
        run(stage)
    assert {path: path.stat().st_mtime_ns for path in out(stage).glob("*")} == before
    assert not paths.metrics(stage).exists()


def test_a_guard_warns_by_name_and_stops_where_it_is_told_to(project, capsys):
    change("grpo", guards={"empty_steps": 2}, objective={"kind": "grpo"}, length=None, format_weight=0.0)
    assert run("grpo") == 0
    assert (
        "grpo: warning: step 2: reward: 2 steps in a row in which no answer earned anything" in capsys.readouterr().err
    )
    change("grpo", guards={"empty_steps": 2, "stop": ["reward"]})
    with pytest.raises(DivergedError, match="grpo: step 2: reward: 2 steps in a row.*grpo.guards.stop names it"):
        run("grpo")


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"frame_cache_gb": 2.0}, id="more memory for frames"),
        pytest.param({"cache_features_gb": 0.5}, id="less memory for features"),
        pytest.param({"save_steps": 2}, id="fewer checkpoints"),
        pytest.param({"gradient_checkpointing": True}, id="less memory for activations"),
        pytest.param({"guards": {"kl_nats": 3.0}}, id="another guard"),
    ],
)
def test_what_changes_no_result_goes_on(project, monkeypatch, capsys, stage, values):
    interrupted(monkeypatch, stage, 3)
    change(stage, **values)
    capsys.readouterr()
    assert run(stage) == 0
    told = capsys.readouterr().out
    assert f"{stage}: resuming from" in told and "step 2 of 4" in told and "afresh" not in told


@pytest.mark.parametrize(("stage", "values"), [("sft", {"epochs": 2}), ("grpo", {"steps": 6})], ids=STAGES)
def test_more_steps_go_on_and_say_so(project, monkeypatch, capsys, stage, values):
    interrupted(monkeypatch, stage, 3)
    change(stage, **values)
    assert run(stage) == 0
    told = capsys.readouterr().out
    assert "-> " in told and "goes on, by the schedule of the latter from here" in told and "step 2 of" in told
    metrics = json.loads(paths.metrics(stage).read_text())
    assert metrics["steps"] == {"sft": 8, "grpo": 6}[stage]


@pytest.mark.parametrize("stage", STAGES)
def test_what_changes_the_result_says_so_and_starts_afresh_beside_what_is_kept(project, monkeypatch, capsys, stage):
    interrupted(monkeypatch, stage, 3)
    [old] = works(stage)
    change(stage, learning_rate=0.002)
    assert run(stage) == 0
    told = capsys.readouterr().out
    assert f"{stage}: starts afresh: {stage}.learning_rate: " in told and "-> 0.002" in told
    assert "older work is kept" in told and "resuming" not in told
    assert works(stage) == [old] and newest_checkpoint(old).name == "checkpoint-2"


@pytest.mark.parametrize("stage", STAGES)
def test_a_damaged_newest_checkpoint_costs_a_step_not_the_run(project, monkeypatch, capsys, stage):
    interrupted(monkeypatch, stage, 4)
    [work] = works(stage)
    file = work / "checkpoint-3/optimizer.pt"
    file.write_bytes(file.read_bytes()[:500])
    assert run(stage) == 0
    told = capsys.readouterr()
    assert "checkpoint-3: passed over: optimizer.pt has 500 bytes" in told.err
    assert "checkpoint-2: step 2 of 4 is done" in told.out


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, 4), (0.5, 2), (1.5, 6)], ids=["whole", "half", "one and a half"])
def test_a_run_that_was_done_but_not_published_is_published(project, monkeypatch, capsys, epochs, steps):
    """Without a step more, also where it ended within an epoch."""
    import tasks.sft.__main__ as stage

    change("sft", epochs=epochs)
    with monkeypatch.context() as patch:
        patch.setattr(stage, "publish", lambda *args: stop(None))
        with pytest.raises(KeyboardInterrupt):
            stage.main()
    assert stage.main() == 0
    assert f"step {steps} of {steps} is done" in capsys.readouterr().out
    assert json.loads(paths.metrics("sft").read_text())["steps"] == steps


def other_processes(monkeypatch, count):
    monkeypatch.setattr("tasks.sft.__main__.processes", lambda: count)
    monkeypatch.setattr("tasks.grpo.__main__.processes", lambda: count)


@pytest.mark.parametrize(("stage", "rows"), [("sft", "batch_size"), ("grpo", "prompts_per_step")], ids=STAGES)
def test_another_number_of_processes_is_refused_unless_a_step_has_the_same_rows(project, monkeypatch, stage, rows):
    """Only the key is looked at here; tests/stages/test_launched.py starts the processes."""
    module = importlib.import_module(f"tasks.{stage}.__main__")
    arguments = (paths.SFT_MODEL,) if stage == "sft" else ([],)
    one = begin_training(module.work_of(load(), *arguments))
    other_processes(monkeypatch, 2)
    with pytest.raises(StageError, match=rf"{stage}: .*trained by 1 processes; 2 processes would change rows_per_step"):
        begin_training(module.work_of(load(), *arguments))
    change(stage, **{rows: 1})
    assert begin_training(module.work_of(load(), *arguments)) == one


def test_a_prompt_that_vllm_has_no_room_for_is_told_before_training(project, monkeypatch, capsys):
    """The engine itself is left out: it would be started after the look at the prompts."""
    rows = [dataclasses.replace(record(8, path="clip.mp4"), problem="Which way? " * 300), record(9, path="clip.mp4")]
    write_table(paths.RL_RECORDS, [dataclasses.asdict(row) for row in rows], RECORD_SCHEMA)
    change("grpo", rollout_engine="vllm", rollout_max_len=512)
    seen = []

    def train(model, processor, prompts, **_):
        seen.extend(prompts)
        stop(model)

    monkeypatch.setattr("tasks.grpo.train.train", train)
    with pytest.raises(KeyboardInterrupt):
        run("grpo")
    assert [prompt.record.problem_id for prompt in seen] == [9]
    assert "rl.parquet: problem_id 8 (clip.mp4): a prompt of" in capsys.readouterr().err
    write_table(paths.RL_RECORDS, [dataclasses.asdict(rows[0])], RECORD_SCHEMA)
    with pytest.raises(StageError, match="no prompt is short enough; the first: a prompt of"):
        run("grpo")
