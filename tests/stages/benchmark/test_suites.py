"""Public benchmarks: official files in, numbers out; resume, faults, rescoring."""

import json
import random

import pytest

from tasks.benchmark import log, rescore
from tasks.benchmark.base import SuiteError
from tasks.benchmark.clips import locate, read_sample
from tasks.benchmark.jobs import open_questions, spread
from tasks.benchmark.reading.text import bare_answer
from tasks.benchmark.suites import REGISTRY, tempcompass, video_mmmu, vsi_bench
from tests.support.benchmark_runs import SAMPLING, benchmark, opened
from tests.support.benchmark_trees import (
    BROKEN,
    MISSING,
    SAMPLES,
    SUITES,
    LetterEngine,
    annotate,
    parquet,
    render,
    runs,
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("benchmarks")
    annotate(root / "annotations")
    render(root / "annotations", root / "media")
    return root


def run(tree, folder, engine=None, names=SUITES, frames=(16, 32), sampling=SAMPLING, **changes):
    return benchmark(opened(tree, names, frames=frames, sampling=sampling), folder, engine, **changes)


@pytest.fixture(scope="module")
def undisturbed(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    return *run(tree, folder), folder


def entry(made, benchmark, protocol, frames=16, view="ordered"):
    [found] = [
        one
        for one in made.entries
        if (one.benchmark, one.protocol, one.frames, one.view) == (benchmark, protocol, frames, view)
    ]
    return found


# Reading ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUITES)
def test_official_rows_become_samples(tree, name):
    found = REGISTRY[name].read(tree / "annotations" / name, None)
    assert found.faults == []
    assert found.samples
    assert len({one.sample_id for one in found.samples}) == len(found.samples)
    for one in found.samples:
        if one.problem_type == "multiple choice":
            letters = [option[0] for option in one.lettered]
            assert one.solution in letters
        assert one.media and one.cluster and one.categories


@pytest.mark.parametrize("name", SUITES)
def test_a_missing_annotation_file_is_one_line(tmp_path, name):
    with pytest.raises(SuiteError, match="looked for"):
        REGISTRY[name].read(tmp_path, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"ground_truth": None}, "line 1: ground_truth: missing", id="no truth"),
        pytest.param({"question_type": "smell"}, "line 1: question_type: unknown 'smell'", id="an unknown task"),
        pytest.param({"ground_truth": "0"}, "line 1: ground_truth: not a positive", id="zero has no relative error"),
        pytest.param(
            {"options": "A. left", "question_type": "route_planning"}, "options: not a list", id="text options"
        ),
        pytest.param({"id": 900002}, "line 2: id 900002 comes twice", id="an id taken"),
    ],
)
def test_a_bad_row_costs_itself_alone(tmp_path, change, said):
    rows = [json.loads(line) for line in (SAMPLES / "vsibench.jsonl").read_text().splitlines()]
    rows[0] |= change
    (tmp_path / "test.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    found = vsi_bench.read(tmp_path)
    assert len(found.samples) == len(rows) - 1
    assert said in found.faults[0]
    assert str(tmp_path / "test.jsonl") in found.faults[0]


def test_formats_of_one_benchmark_agree(tmp_path, tree):
    rows = [json.loads(line) for line in (SAMPLES / "vsibench.jsonl").read_text().splitlines()]
    parquet(tmp_path / "test-00000-of-00001.parquet", rows)
    assert vsi_bench.read(tmp_path).samples == vsi_bench.read(tree / "annotations/vsi_bench").samples


def test_vsi_subset_by_column(tmp_path):
    (tmp_path / "test.jsonl").write_text((SAMPLES / "vsibench_debiased_revision.jsonl").read_text())
    whole, kept = vsi_bench.read(tmp_path), vsi_bench.read(tmp_path, "debiased")
    assert [one.sample_id for one in kept.samples] == ["900001", "900003"]
    assert len(whole.samples) == 3


def test_video_mmmu_from_the_repository_and_question_only(tmp_path):
    (tmp_path / "data").mkdir()
    source = SAMPLES / "videommmu_github_adaptation_video.json"
    (tmp_path / "data/adaptation_video.json").write_text(source.read_text())
    [first, second] = video_mmmu.read(tmp_path, "question_only").samples
    assert first.media == ("question_only/dev_Biology_990_image.mp4",)
    assert first.problem == "Which organelle is marked?"
    assert (second.options, second.problem_type, second.answer) == ((), "numerical", "12.40")


def test_tempcompass_parquet_equals_its_json(tmp_path):
    rows = [json.loads(line) for line in (SAMPLES / "tempcompass/hf_captioning.jsonl").read_text().splitlines()]
    parquet(tmp_path / "captioning/test-00000-of-00001.parquet", rows)
    [one] = tempcompass.read(tmp_path).samples
    assert one.caption_answer == "B. jumping"
    assert one.problem_type is None


@pytest.mark.parametrize(
    ("video", "clip"),
    [("1021488277", "1021488277"), ("1021488277_reverse", "1021488277"), ("12_concat_3", "12")],
)
def test_tempcompass_clusters_by_source_clip(video, clip):
    assert tempcompass.source_clip(video) == clip


def test_video_r1_file_is_read_for_its_own_protocol(tree, tmp_path):
    given = json.loads((SAMPLES / "video_r1_eval_format.json").read_text())
    given[3]["problem_id"] = 99
    path = tmp_path / "eval_vsibench.json"
    path.write_text(json.dumps(given))
    [run_of] = runs(tree / "annotations", tree / "media", ["vsi_bench"], video_r1_file=str(path))
    fields = {name: value for name, value in run_of.items() if name != "protocols"}
    fields |= {"frames": [16], "sampling": SAMPLING}
    found = open_questions("video_r1", **fields).annotations.samples
    assert [one.problem_type for one in found] == ["regression", "multiple choice", "numerical", "multiple choice"]
    assert found[0].categories["original_question_type"] == "object_counting"
    assert open_questions("official", **fields).annotations.samples[0].sample_id == "900001"


def test_limit_spreads_over_the_list():
    assert spread(list(range(10)), 4) == [0, 2, 5, 7]
    assert spread([1, 2], None) == [1, 2]


# Clips --------------------------------------------------------------------------------------------------------------


def test_a_part_is_read_at_its_own_rate(tree):
    [sample] = [
        one
        for one in REGISTRY["mvbench"].read(tree / "annotations/mvbench", None).samples
        if one.window and not one.frame_rate
    ][:1]
    path = locate(sample, tree / "media/mvbench")
    whole = read_sample(sample, path, SAMPLING, windowed=False)
    clip = read_sample(sample, path, SAMPLING, windowed=True)
    first, last = (round(moment * 4.0) for moment in sample.window)
    assert (clip.indices[0], clip.indices[-1]) == (first, last)
    assert (whole.indices[0], whole.indices[-1]) == (0, 79)
    assert clip.sample_fps == pytest.approx(len(clip.indices) / (last - first + 1) * 4)


def test_a_folder_of_pictures_is_a_clip(tree):
    [sample] = [one for one in REGISTRY["mvbench"].read(tree / "annotations/mvbench", None).samples if one.frame_rate]
    clip = read_sample(sample, locate(sample, tree / "media/mvbench"), SAMPLING, windowed=True)
    assert clip.source_fps == 3.0
    assert clip.indices[0] == 4  # 1.5 s at 3 a second, halves to even


# Running ------------------------------------------------------------------------------------------------------------


def test_every_protocol_frame_cap_and_view_has_numbers(undisturbed):
    made, _, _ = undisturbed
    for name in SUITES:
        for protocol in ("official", "video_r1"):
            for frames in (16, 32):
                assert entry(made, name, protocol, frames).rows > 0
                assert entry(made, name, protocol, frames, "shuffled").rows > 0
            assert entry(made, name, protocol, 0, "no_video").rows > 0


def test_the_broken_and_the_missing_clip_are_reported_and_not_wrong(undisturbed):
    made, _, folder = undisturbed
    rows = list(log.read(folder / "vsi_bench.jsonl").values())
    found = entry(made, "vsi_bench", "official")
    assert found.errors == {"missing file": 2, "unreadable clip": 1}
    assert found.answered == found.rows - 3 == found.scored
    assert {row["media"].endswith(BROKEN) for row in rows if row["error_class"] == "unreadable clip"} == {True}
    assert all(MISSING in row["error"] for row in rows if row["error_class"] == "missing file")
    assert all(row["official"] is None for row in rows if row["error_class"])
    [source] = [one for one in made.question_sets if (one["benchmark"], one["protocol"]) == ("vsi_bench", "official")]
    assert source["missing_clips"] == 2
    assert "object_counting: 1 of 565 rows" in source["incomplete"]


def test_caps_are_caps(undisturbed):
    _, _, folder = undisturbed
    lengths = {}
    for row in log.read(folder / "video_holmes.jsonl").values():
        if not row["error_class"]:
            lengths.setdefault(row["frames"], set()).add(len(row["frame_indices"]))
    assert lengths[16] == {16}
    assert lengths[32] == {32}


def test_judged_parts_are_not_scored_without_a_judge(undisturbed):
    made, _, _ = undisturbed
    found = entry(made, "mmvu", "official")
    assert found.scored == 0
    assert found.overall.value is None
    assert found.not_scored == {"not scored: needs a judge": found.answered}
    captions = entry(made, "tempcompass", "official").not_scored
    assert captions == {"not scored: needs a judge": 1}


def test_protocols_ask_differently_and_never_mix(undisturbed):
    made, engine, folder = undisturbed
    rows = list(log.read(folder / "mvbench.jsonl").values())
    official = [row["prompt"] for row in rows if row["protocol"] == "official" and row["prompt"]]
    ours = [row["prompt"] for row in rows if row["protocol"] == "video_r1" and row["prompt"]]
    assert all(prompt.endswith("Best option:(") for prompt in official)
    assert all("<think> and </think>" in prompt for prompt in ours)
    assert not set(official) & set(ours)


def test_a_second_run_asks_nothing(tree, undisturbed):
    made, _, folder = undisturbed
    again, engine = run(tree, folder)
    assert engine.asked == []
    assert again == made


@pytest.mark.parametrize(
    ("change", "new"),
    [
        pytest.param({"frames": (16, 32, 64)}, {(64, "ordered"), (64, "shuffled")}, id="a frame cap more"),
        pytest.param({"frames": (16,)}, set(), id="a frame cap less"),
        pytest.param({"views": ("ordered",)}, set(), id="a view less"),
    ],
)
def test_only_what_is_new_is_asked(tree, tmp_path, change, new):
    run(tree, tmp_path, names=["mmvu", "video_mme"])
    _, engine = run(tree, tmp_path, names=["mmvu", "video_mme"], **change)
    rows = [row for path in log.logs_in(tmp_path) for row in log.read(path).values()]
    asked = {request.key for request in engine.asked}
    assert {(row["frames"], row["view"]) for row in rows if row["key"] in asked} == new


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"config": "other weights"}, id="model"),
        pytest.param({"seed": 2}, id="seed"),
        pytest.param({"sampling": SAMPLING._replace(max_pixels=6272)}, id="pixels"),
    ],
)
def test_another_configuration_asks_all_anew(tree, tmp_path, change):
    _, first = run(tree, tmp_path, names=["mmvu"], frames=(16,))
    _, second = run(tree, tmp_path, names=["mmvu"], frames=(16,), **change)
    assert len(second.asked) == len(first.asked)


@pytest.mark.slow
def test_killed_five_times_at_random_equals_undisturbed(tree, undisturbed, tmp_path):
    made, whole, folder = undisturbed
    draw = random.Random(4)
    asked = 0
    for _ in range(5):
        engine = LetterEngine(die_at=draw.randint(1, 6))
        with pytest.raises(KeyboardInterrupt):
            run(tree, tmp_path, engine)
        asked += len(engine.asked)
        for path in log.logs_in(tmp_path)[-1:]:  # a write cut off in the middle of a line
            data = path.read_bytes()
            path.write_bytes(data[: len(data) - draw.randint(0, 40)])
    again, engine = run(tree, tmp_path)
    assert again == made
    assert asked > 0 and len(engine.asked) < len(whole.asked)
    for name in SUITES:
        ours, theirs = (log.read(place / f"{name}.jsonl") for place in (tmp_path, folder))
        assert list(ours.values()) == list(theirs.values())


def test_rescore_changes_scores_and_nothing_else(tree, undisturbed, monkeypatch, tmp_path):
    made, _ = run(tree, tmp_path, names=["video_mme"])
    before = log.read(tmp_path / "video_mme.jsonl")
    assert rescore.rescore(tmp_path, "m", made.question_sets, "robust") == made
    assert log.read(tmp_path / "video_mme.jsonl") == before
    monkeypatch.setattr("tasks.benchmark.suites.video_mme.extract_letter", lambda text: "C")
    changed = rescore.rescore(tmp_path, "m", made.question_sets, "robust")
    found = entry(changed, "video_mme", "official")
    assert found.overall.value == pytest.approx(1 / 3, abs=1e-6), "one of the three true letters is C"
    after = log.read(tmp_path / "video_mme.jsonl")
    assert [row["completion"] for row in after.values()] == [row["completion"] for row in before.values()]


def test_exports_have_the_official_shape(undisturbed):
    _, _, folder = undisturbed
    exports = folder / "exports"
    video_mme = json.loads((exports / "video_mme-official-16f/output_test_template.json").read_text())
    given = json.loads((SAMPLES / "videomme_output_for_eval_your_results.json").read_text())
    assert set(video_mme[0]) == set(given[0])
    assert set(video_mme[0]["questions"][0]) == set(given[0]["questions"][0])
    choice = json.loads((exports / "tempcompass-official-16f/multi-choice.json").read_text())
    assert set(choice["9900000001"]["action"][0]) == {"question", "answer", "prediction"}
    table = (exports / "video_holmes-official-16f/Results-Video-Holmes.csv").read_text().splitlines()
    assert table[0].startswith("SR,IMC,TCI,TA,MHR,PAR,CTI,Overall Accuracy")
    shape = json.loads((exports / "lm_eval.json").read_text())
    assert set(shape["results"]) == set(shape["configs"]) == set(shape["n-samples"])
    assert "vsi_bench_official_16f" in shape["results"]


def test_a_benchmark_named_twice_is_refused(tree, tmp_path):
    with pytest.raises(SuiteError, match="mmvu comes twice"):
        run(tree, tmp_path, names=["mmvu", "mmvu"])


def test_an_absent_folder_is_one_line(tree, tmp_path):
    with pytest.raises(SuiteError, match="no such folder; put the official annotation files there"):
        opened(tmp_path, ["mmvu"])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param("B", "B", id="nothing to take off"),
        pytest.param("<think>A? no</think> B", "B", id="reasoning"),
        pytest.param("<think>A</think><answer> B </answer>", "B", id="both"),
        pytest.param("<think><answer>A</answer></think><answer>B</answer>", "B", id="an answer inside the reasoning"),
        pytest.param("<think>cut off A", "<think>cut off A", id="unclosed reasoning stays"),
        pytest.param("so</think>B", "B", id="the prompt held the opening tag"),
    ],
)
def test_bare_answer(text, answer):
    assert bare_answer(text) == answer
