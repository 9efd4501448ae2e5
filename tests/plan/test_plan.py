"""What a plan refuses, with the number and the lever; what it finds missing; that it imports no torch."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from tasks import params
from tasks.core.io.documents import read_yaml
from tasks.core.io.errors import StageError
from tasks.core.sizing.speed import CARDS
from tasks.machines import LaunchError, Rendezvous
from tasks.plan import __main__ as command
from tasks.plan.files import missing_all, source_rows, split_rows
from tasks.plan.graph import GRAPH, stages
from tasks.plan.machine import Machine, card_of, described, here, launched
from tasks.plan.plan import make_plan
from tasks.plan.show import lines
from tests.support import scaling_page
from tests.support.graph import ROOT
from tests.support.graph import stages as real_stages

FSDP_4 = "accelerate:profiles/accelerate/fsdp_4gpu.yaml"
FSDP_8 = "accelerate:profiles/accelerate/fsdp_8gpu.yaml"
SEVEN = yaml.safe_load((ROOT / "profiles/video_r1_7b.yaml").read_text())
MINI = yaml.safe_load((ROOT / "profiles/mini.yaml").read_text())
LORA = {
    "engine.tensor_parallel": 1,
    "models.teacher": "models/qwen2.5-vl-7b-instruct",
    "grpo.lora": {"rank": 64, "alpha": 128, "dropout": 0.0},
    "grpo.rollout_engine": "transformers",
    "grpo.rollout_sleep": None,
    "start.at": "sft",
    "start.path": "models/qwen2.5-vl-7b-cot-sft",
}


def changed(values, changes):
    """A params file with other values at dotted places."""
    values = json.loads(json.dumps(values))
    for place, value in changes.items():
        section, _, field = place.partition(".")
        values[section][field] = value
    return values


def planned(values, machine, launch="", tmp=None):
    """A plan of parameters on a described machine."""
    config = params.Params.model_validate(values)
    return make_plan(config, values, read_yaml(ROOT / GRAPH), {}, machine=machine, launch=launch)


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("gpus", "launch", "changes", "refusals"),
    [
        pytest.param("4xh100", FSDP_4, {}, [], id="the published run on its machine"),
        pytest.param("4xh200", FSDP_4, {}, [], id="on larger cards"),
        pytest.param(
            "4xl40s",
            FSDP_4,
            {},
            [
                "grpo: 59.8 GiB of memory, there are 45.0 GiB of L40S 48GB; FSDP2 over 7 GPUs",
                "an engine may take 36.0 GiB; engine.tensor_parallel: 8, on as many GPUs",
            ],
            id="48 GB: SFT fits, GRPO with its reference and the teacher do not",
        ),
        pytest.param(
            "4xa100-40",
            FSDP_4,
            {},
            ["grpo: 58.1 GiB of memory, there are 39.4 GiB of A100 40GB; FSDP2 over 8 GPUs", "sft: 44.2 GiB"],
            id="40 GB: more GPUs",
        ),
        pytest.param("4xh100", "", {}, ["one process would see 4 GPUs"], id="a plain launcher on several GPUs"),
        pytest.param(
            "1xh100",
            "",
            {},
            ["grpo: 212.3 GiB of memory", "lora.rank: 64 with", "FSDP2 over 4 GPUs", "tensor_parallel to 1"],
            id="one GPU",
        ),
        pytest.param("2xh100", FSDP_4, {}, ["starts 4 processes on 2 GPU(s)"], id="more processes than GPUs"),
        pytest.param("1xl40s", "", LORA, [], id="an adapter on one 48 GB GPU"),
        pytest.param(
            "4xh100", FSDP_4, LORA, ["grpo.lora: merging an adapter wants whole weights"], id="an adapter, sharded"
        ),
        pytest.param(
            "4xh100",
            FSDP_4,
            {"engine.tensor_parallel": 8},
            ["tensor_parallel 8 x data_parallel 1 wants 8 GPUs of 4; set engine.tensor_parallel to 4"],
            id="an engine over more GPUs than there are",
        ),
        pytest.param(
            "4xh100",
            FSDP_4,
            {"engine.data_parallel": 2},
            ["tensor_parallel 4 x data_parallel 2 wants 8 GPUs of 4; set engine.data_parallel to 1"],
            id="more engines than there are GPUs for",
        ),
        pytest.param(
            "4xa100",
            "torchrun:4",
            {},
            ["sft: 190.6 GiB of memory, there are 79.3 GiB of A100 80GB; FSDP2 over 4 GPUs"],
            id="whole weights on every GPU, which the same GPUs would hold sharded",
        ),
        pytest.param(
            "8xh100",
            FSDP_8,
            {"engine.tensor_parallel": 8},
            ["benchmark@base: engine.tensor_parallel 8 does not divide the 28 heads of its model"],
            id="an engine over GPUs that do not divide the heads of a model",
        ),
        pytest.param(
            "4xh100",
            FSDP_4,
            {"engine.data_parallel": 8, "engine.data_parallel_backend": "ray"},
            [],
            id="engines on a cluster, whose GPUs are not known here",
        ),
        pytest.param(
            "4xh100",
            FSDP_4,
            {"engine.tensor_parallel": 1},
            ["annotate: 145.2 GiB of each GPU, an engine may take 63.7 GiB; engine.tensor_parallel: 4"],
            id="a teacher that one GPU does not hold",
        ),
        pytest.param(
            "4xh100",
            FSDP_4,
            {"grpo.gradient_checkpointing": False, "grpo.group": 32},
            ["grpo: 237.1 GiB", "grpo.gradient_checkpointing: true, grpo.selective_checkpointing: false: 71.4"],
            id="everything kept for the backward pass",
        ),
        pytest.param(
            "4xh100",
            FSDP_4,
            {"grpo.importance_cap": 2.0},
            ["grpo.sampling.top_p: 0.95; vLLM tells probabilities before the nucleus is cut"],
            id="importance weights under a nucleus",
        ),
        pytest.param(
            "4xh100",
            FSDP_4,
            {"grpo.rollout_gpu_share": 0.1, "grpo.rollout_max_len": 1024},
            [
                "grpo.rollout_gpu_share: 0.1 of 79.6 GiB are 8.0 GiB, vLLM needs 17.8 GiB; set it to 0.22",
                "grpo.rollout_max_len: 1024",
            ],
            id="an engine that holds neither weights nor prompts",
        ),
        pytest.param(
            "4xh100",
            FSDP_4,
            {"grpo.rollout_sleep": None, "grpo.rollout_gpu_share": 0.35},
            ["grpo: 81.1 GiB of memory, there are 79.6 GiB of H100 80GB; grpo.rollout_sleep: 2: 74.1 GiB"],
            id="an engine that stays awake beside the training",
        ),
        pytest.param(
            "4xh100",
            FSDP_4,
            {
                **{"grpo.rollout_engine": "vllm_server", "grpo.rollout_server": {"url": "http://a:1"}},
                "grpo.rollout_sleep": None,
            },
            [],
            id="a server leaves these GPUs to the training",
        ),
        pytest.param(
            "4xh100",
            FSDP_4,
            {
                **{"grpo.rollout_engine": "vllm_server", "grpo.rollout_server": {"url": "http://a:1"}},
                **{"grpo.rollout_sleep": None, "grpo.rollout_max_len": 1024},
            },
            ["grpo.rollout_max_len: 1024; the longest clips want"],
            id="a server too short for the prompts",
        ),
        pytest.param(
            "4xh100",
            FSDP_4,
            {"grpo.rollout_engine": "transformers"},
            ["grpo.rollout_sleep: 2; only an engine beside"],
            id="a policy that cannot sleep",
        ),
        pytest.param(
            "4xh100", FSDP_4, {"grpo.group_ranks": 3}, ["grpo.group_ranks: 3 does not divide"], id="groups cut unevenly"
        ),
        pytest.param(
            "4xh100",
            FSDP_4,
            {"engine.max_model_len": 4096},
            ["engine.max_model_len: 4096; the longest clips want"],
            id="64 frames are too long for the engine",
        ),
    ],
)
def test_what_cannot_fit_is_refused_with_the_number_and_the_lever(gpus, launch, changes, refusals):
    plan = planned(changed(SEVEN, changes), described(gpus, 1000, 8000), launch)
    told = "\n".join(plan.refusals)
    assert [text for text in refusals if text not in told] == []
    assert bool(plan.refusals) == bool(refusals), told


@pytest.mark.parametrize(
    ("host", "disk", "text"),
    [
        pytest.param(100, 8000, "grpo: 145.8 GiB of main memory, there are 93.1 GiB", id="main memory"),
        pytest.param(1000, 500, "GiB will be written, 465.7 GiB are free; video.disk_cache_gb (500)", id="disk"),
        pytest.param(None, None, "", id="sizes that are not told are held against nothing"),
    ],
)
def test_main_memory_and_disk_are_held_against_what_there_is(host, disk, text):
    told = "\n".join(planned(SEVEN, described("4xh100", host, disk), FSDP_4).refusals)
    assert text in told and bool(text) == bool(told)


def test_the_mini_run_fits_and_misses_nothing_and_its_stages_are_dvc_s():
    plan = planned(MINI, Machine(0, CARDS["h100"]._replace(gib=8.0), 8e9, 1e11, True))
    assert plan.works and not plan.unknown, plan.refusals
    names = [stage.name for stage in plan.stages]
    assert sorted(names) == sorted(real_stages())
    for before, after in (("ingest", "validate@records"), ("annotate", "validate@cot"), ("sft", "grpo")):
        assert names.index(before) < names.index(after)
    assert {need.stage for need in plan.needs} >= {"sft", "grpo", "annotate", "benchmark@grpo"}
    assert all(hours.hours is not None and hours.hours > 0 for hours in plan.hours)


def states(values, lock=None, launch=""):
    config = params.Params.model_validate(values)
    return {stage.name: stage for stage in stages(read_yaml(GRAPH), lock or {}, values, config.start, launch)}


def test_stages_say_what_start_spares_and_what_the_launcher_makes_of_them():
    cot = states(SEVEN | {"start": {"at": "cot", "path": "data/raw/x.json", "media_root": None}}, launch=FSDP_4)
    assert cot["annotate"].state == "asks nobody: takes the reasoning of data/raw/x.json" and cot["sft"].runs
    assert cot["sft"].command.endswith("fsdp_4gpu.yaml -m tasks.sft") and "accelerate" in cot["sft"].command
    given = states(SEVEN | {"start": {"at": "sft", "path": "models/x", "media_root": None}})
    assert [name for name, stage in given.items() if stage.state == "skipped"] == [
        "annotate",
        "validate@cot",
        "filter",
        "validate@sft",
    ]
    assert given["benchmark@teacher"].state == "skipped, benchmark.models leaves it out"
    assert given["sft"].state == "takes models/x, trains nothing" and given["grpo"].runs


def test_stages_say_which_parameters_differ_from_the_last_run():
    lock = {"stages": {"grpo": {"params": {"params.yaml": {"grpo": MINI["grpo"], "video.fps": MINI["video"]["fps"]}}}}}
    assert states(MINI, lock)["grpo"].state == "runs if its files changed"
    assert states(changed(MINI, {"grpo.steps": 7, "video.fps": 1.0}), lock)["grpo"].state == (
        "runs, changed are grpo, video.fps"
    )
    assert states(MINI)["grpo"].state == "runs, not in dvc.lock" and not states(MINI)["world"].runs


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder with one record file of the published layout, and half of its media."""
    monkeypatch.chdir(tmp_path)
    raw, media = tmp_path / "data/raw", tmp_path / "data/media/Video-R1-data/a"
    raw.mkdir(parents=True)
    media.mkdir(parents=True)
    rows = [{"problem_id": i, "path": f"./a/{i}.mp4"} for i in range(4)]
    (raw / "Video-R1-260k.json").write_text(json.dumps(rows))
    for i in (0, 1):
        (media / f"{i}.mp4").write_bytes(b"x")
    return params.Params.model_validate(SEVEN)


def test_what_is_missing_is_told_with_the_place_it_comes_from(published):
    told = list(map(str, missing_all(published)))
    assert (
        "models/qwen2.5-vl-7b-instruct: no such model folder, for models.base (checkpoint Qwen/Qwen2.5-VL-7B-Instruct)"
        in told
    )
    assert any(
        line.startswith("2 of the first 4 media are missing below data/media/Video-R1-data, the first is ./a/2.mp4")
        for line in told
    )
    assert not any("260k.json: no such file" in line for line in told)
    assert "data/raw/eval_mmvu.json: no such file, for ingest.sources mmvu (data set Video-R1/Video-R1-eval)" in told
    assert len(told) == len(set(told))


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        pytest.param({}, False, id="it annotates"),
        pytest.param({"start.at": "sft", "start.path": "models/x"}, True, id="neither annotates nor is benchmarked"),
        pytest.param(
            {"start.at": "sft", "start.path": "models/x", "benchmark.models": None}, False, id="it is benchmarked"
        ),
    ],
)
def test_a_missing_teacher_that_nobody_asks_may_be_left_out(published, changes, hint):
    config = params.Params.model_validate(changed(SEVEN, changes))
    [told] = [str(each) for each in missing_all(config) if "72b" in each.path and "models.teacher" in each.needed_by]
    assert ("nobody asks it: take the line out of `models`" in told) == hint


def test_a_checkpoint_whose_weights_are_missing_is_missing(published, tmp_path):
    folder = tmp_path / "models/qwen2.5-vl-7b-instruct"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    assert any("no *.safetensors weights" in str(each) for each in missing_all(published))


def test_rows_are_counted_in_files_and_known_of_published_ones(published, tmp_path):
    assert split_rows(published, "rl") == (4, "counted")
    assert split_rows(published, "test") == (20_895, "published")
    source = published.ingest.sources[0]
    assert source_rows(source.model_copy(update={"annotations": "data/raw/mine.json"})).rows is None
    assert source_rows(source.model_copy(update={"rows": 3})).rows == 3


@pytest.mark.parametrize(
    ("line", "name", "known"),
    [
        pytest.param("NVIDIA H100 80GB HBM3, 81559", "NVIDIA H100 80GB HBM3", True, id="h100"),
        pytest.param("NVIDIA A100-SXM4-40GB, 40960", "NVIDIA A100-SXM4-40GB", True, id="a100"),
        pytest.param("Brand New Card, 1024", "Brand New Card", False, id="unknown: its memory alone"),
    ],
)
def test_cards_are_read_from_nvidia_smi(line, name, known):
    card = card_of(line)
    assert card.name == name and card.gib == int(line.rpartition(",")[2]) / 1024
    assert (card.tflops is not None) == known


def test_an_objective_that_updates_under_two_views_takes_twice_the_update():
    """With an engine that stays awake: of one that sleeps, the update's memory is the smaller part."""
    awake = {"grpo.rollout_sleep": None}
    other = {kind: awake | {"grpo.objective": {"kind": kind}} for kind in ("grpo", "papo")}
    plain, papo = (planned(changed(SEVEN, other[kind]), described("4xh100", None, None), FSDP_4) for kind in other)
    hours = [next(each.hours for each in plan.hours if each.stage == "grpo") for plan in (plain, papo)]
    assert hours[0] < hours[1] < 2 * hours[0], "rollouts cost the same"
    sizes = [next(need.size_bytes for need in plan.needs if need.stage == "grpo") for plan in (plain, papo)]
    assert sizes[0] < sizes[1] < 2 * sizes[0], "weights and their states stay"


def test_a_machine_may_be_written_as_it_is_spoken():
    assert described(" 4 X H100", None, None) == described("4xh100", None, None)


def test_hours_on_an_unknown_card_are_not_made_up():
    machine = described("4xh100", None, None)
    plan = planned(SEVEN, machine._replace(card=machine.card._replace(tflops=None)), FSDP_4)
    assert [hours.stage for hours in plan.hours if hours.hours is None] == ["everything else"]


@pytest.mark.parametrize("gpus", ["", "h100", "0xh100", "4xh99", "xh100", "99999xh100"])
def test_a_machine_that_is_none_is_refused(gpus):
    with pytest.raises(StageError, match="4xh100; cards: h200"):
        described(gpus, None, None)


@pytest.mark.parametrize(
    ("launch", "processes", "is_sharded"),
    [
        ("", 1, False),
        ("torchrun:4", 4, False),
        ("torchrun", 2, False),
        (FSDP_4, 4, True),
        ("accelerate:profiles/accelerate/cpu_2.yaml", 2, False),
        ("srun:--gres=gpu:1", 1, False),
        ("srun:--nodes=2 --gpus-per-node=4 -- " + FSDP_4, 8, True),
        ("srun:-N 3 -- torchrun", 6, False),
    ],
)
def test_processes_of_a_launcher(launch, processes, is_sharded):
    assert launched(launch, described("2xh100", None, None))[:2] == (processes, is_sharded)


def test_a_launcher_that_counts_for_itself_takes_every_core_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr("tasks.plan.machine.visible_cards", list)
    assert launched("torchrun", here(None, None)).processes == os.cpu_count()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("a: [", "not an accelerate configuration", id="no YAML"),
        pytest.param("- 1", "not an accelerate configuration", id="no mapping"),
        pytest.param("num_processes: 0", "num_processes: 0, num_machines: 1; whole numbers", id="no process"),
        pytest.param("num_processes: 1.5", "num_processes: 1.5", id="half a process"),
        pytest.param("{num_processes: 3, num_machines: 2}", "as many processes on each machine", id="uneven machines"),
    ],
)
def test_a_launch_configuration_that_is_none_is_refused(tmp_path, text, says):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(LaunchError, match=says):
        launched(f"accelerate:{tmp_path / 'x.yaml'}", here(None, None))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            "distributed_type: DEEPSPEED", "distributed_type DEEPSPEED; weights are sharded by FSDP", id="ZeRO"
        ),
        pytest.param("distributed_type: FSDP", "FSDP version 2 is wanted", id="FSDP1, accelerate's default"),
    ],
)
def test_a_launch_that_training_would_refuse_is_refused_before(tmp_path, text, says):
    path = tmp_path / "x.yaml"
    path.write_text(f"num_processes: 4\n{text}\n")
    plan = planned(SEVEN, described("4xh100", None, None), f"accelerate:{path}")
    told = "\n".join(plan.refusals)
    assert says in told


def test_several_machines_share_the_weights_and_each_holds_its_own_processes():
    """Main memory and GPUs are those of a machine, states are spread over all."""
    one, two = (
        planned(SEVEN, described("4xh100", 1000, 8000), launch)
        for launch in (FSDP_4, f"srun:--nodes=2 --gpus-per-node=4 -- {FSDP_4}")
    )
    assert not two.refusals and (two.start.machines, two.start.processes, two.start.on_each) == (2, 8, 4)
    by_stage = [{(need.stage, need.where): need for need in plan.needs} for plan in (one, two)]
    assert by_stage[0]["grpo", "host"] == by_stage[1]["grpo", "host"]
    assert by_stage[0]["grpo", "GPU"].size_bytes > by_stage[1]["grpo", "GPU"].size_bytes
    told = "\n".join(lines(two))
    assert "8 processes on 2 machines like this" in told and "network between machines is in no hour" in told
    assert next(stage for stage in two.stages if stage.name == "grpo").command.startswith("srun --nodes=2")
    meeting = Rendezvous(0, 2, "10.0.0.1", 29500, "")
    by_hand = make_plan(
        params.Params.model_validate(SEVEN),
        SEVEN,
        read_yaml(ROOT / GRAPH),
        {},
        machine=described("4xh100", None, None),
        launch=FSDP_4,
        meeting=meeting,
    )
    assert by_hand.start[:2] == two.start[:2] and "--machine_rank=0" in "\n".join(lines(by_hand))


def test_the_command_ends_with_one_where_the_run_cannot_work(capsys, monkeypatch, tmp_path):
    assert command.main(["--host-gb", "64", "--disk-gb", "100"]) == 0
    assert capsys.readouterr().out.endswith("\nnothing is missing, everything fits\n")
    monkeypatch.setattr("tasks.paths.PARAMS", ROOT / "profiles/video_r1_7b.yaml")
    monkeypatch.setattr(params, "load", lambda: params.Params.model_validate(SEVEN))
    assert command.main(["--gpus", "4xa100-40", "--launch", FSDP_4]) == 1
    told = capsys.readouterr().out
    assert "cannot work: 4\n  sft: 44.2 GiB of memory, there are 39.4 GiB of A100 40GB" in told


def test_the_pages_of_scaling_are_what_the_plan_says():
    """`python -m tests.support.scaling_page` makes them; every profile fits on its machine."""
    for page, made in scaling_page.tables().items():
        assert page.read_text() == scaling_page.with_tables(page.read_text(), made)
    runs = {*scaling_page.RUNS, *scaling_page.PLACES}
    assert {run: scaling_page.plan_of(run).refusals for run in runs} == {run: [] for run in runs}


def test_a_plan_takes_no_torch():
    code = "import sys; from tasks.plan.__main__ import main; main([]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0
