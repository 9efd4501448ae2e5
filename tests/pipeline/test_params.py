"""Every params file loads; what is wrong with one is told by file, place and the nearest valid name."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks import params, profile
from tasks.params import __main__ as params_command
from tests.support.graph import ROOT, raw_graph, stages

FILES = sorted(
    [ROOT / "params.yaml", *(ROOT / "profiles").glob("*.yaml"), *(ROOT / "tests/fixtures").glob("params*.yaml")]
)


def text_of(path: Path) -> str:
    """A params file; of a profile the whole, its base's values included."""
    return profile.text_of(path.stem, path.parent) if path.parent.name == "profiles" else path.read_text()


def section_names() -> set[str]:
    return {field.alias or name for name, field in params.Params.model_fields.items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_params_file_loads_and_is_whole(path):
    params.parse(text_of(path), path)
    assert set(yaml.safe_load(text_of(path))) == section_names(), "a profile names every section"


def test_params_yaml_is_the_mini_profile():
    assert (ROOT / "params.yaml").read_text() == (ROOT / "profiles/mini.yaml").read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_profile_says_every_value_of_a_stage_section(path):
    raw = yaml.safe_load(text_of(path))
    if path.parent.name != "profiles":
        pytest.skip("params.yaml equals a profile; a fixture may lean on defaults")
    for name in raw_graph():
        if name in ("world", "ingest", "validate"):
            continue
        section = params.Params.model_fields[name].annotation
        assert section is not None
        fields = set(section.model_fields)
        assert fields - set(raw[name]) == set(), f"{path.name}: {name}"
    objective = params.parse(text_of(path), path).grpo.objective
    assert raw["grpo"]["objective"] == json.loads(objective.model_dump_json()), f"{path.name}: grpo.objective"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_field_that_dvc_watches_is_written_out(path):
    """DVC reads the file, not the defaults."""
    raw = yaml.safe_load(text_of(path))
    watched = {key for stage in stages().values() for key in stage.params if "." in key}
    assert watched and [key for key in watched if key.partition(".")[2] not in raw[key.partition(".")[0]]] == []


@pytest.mark.parametrize("path", sorted((ROOT / "profiles/accelerate").glob("*.yaml")), ids=lambda path: path.name)
def test_accelerate_configurations_are_valid(path):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.num_processes == int(path.stem.partition("_")[2].removesuffix("gpu"))


MINIMAL: dict[str, Any] = {
    "models": {"base": "b", "teacher": "t"},
    "ingest": {"sources": [{"name": "w", "format": "world", "split": "train"}]},
}


def curriculum(mix: dict[str, float], **others: Any) -> dict[str, Any]:
    """The section world with one skill."""
    return {"world": {"curriculum": [{"name": "a", "steps": 1, "rows": 1, "mix": mix, **others}]}}


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        pytest.param({"grpoo": {}}, "unknown key 'grpoo'; did you mean 'grpo'?", id="a section misspelt"),
        pytest.param({"grpo": {"betta": 1}}, "unknown key 'grpo.betta'; did you mean 'beta'?", id="a field misspelt"),
        pytest.param(
            {"grpo": {"sampling": {"tempreature": 1}}},
            "unknown key 'grpo.sampling.tempreature'; did you mean 'temperature'?",
            id="a nested field misspelt",
        ),
        pytest.param(
            {"grpo": {"objective": {"kind": "logprob", "alhpa": 1}}},
            "unknown key 'grpo.objective.alhpa' for kind logprob; did you mean 'alpha'?",
            id="a field of a kind misspelt",
        ),
        pytest.param(
            {"grpo": {"objective": {"kind": "tgrpo_reward", "nats": 1}}},
            "unknown key 'grpo.objective.nats' for kind tgrpo_reward; valid: alpha, completions, correct_above, kind",
            id="a field that another kind reads",
        ),
        pytest.param(
            {"grpo": {"objective": {"kind": "best"}}},
            "grpo.objective.kind: no kind 'best'; one of grpo, tgrpo_reward, tgrpo_advantage, logprob",
            id="no such kind",
        ),
        pytest.param({"grpo": {"objective": {"alpha": 1}}}, "grpo.objective.kind: missing", id="no kind"),
        pytest.param(
            {"grpo": {"objective": {"kind": "tgrpo_reward", "perturbation": {"kind": "shuffle", "unti": "frame"}}}},
            "unknown key 'grpo.objective.perturbation.unti' for kind shuffle; did you mean 'unit'?",
            id="a kind within a kind",
        ),
        pytest.param(
            {"validate": {"xyz": 1}},
            "unknown key 'validate.xyz'; valid: max_quarantined_share, min_rows",
            id="nothing near lists all",
        ),
        pytest.param(
            {"grpo": {"beta": -1}}, "grpo.beta: Input should be greater than or equal to 0 (got -1)", id="out of range"
        ),
        pytest.param(
            {"grpo": {"gradient_checkpointing": True, "selective_checkpointing": True}},
            "grpo.selective_checkpointing: gradient_checkpointing recomputes whole blocks already",
            id="two kinds of checkpointing at once",
        ),
        pytest.param({"ingest": {"sources": []}}, "ingest.sources: List should have at least 1 item", id="no source"),
        pytest.param(
            {
                "ingest": {
                    "sources": [{"name": "x", "format": "video_r1", "split": "rl", "annotations": "elsewhere/x.json"}]
                }
            },
            "ingest.sources.0.annotations: elsewhere/x.json lies outside data_root (data/raw)",
            id="a record file that DVC would not see",
        ),
        pytest.param({"data_root": "/"}, "data_root: / holds far more than is meant", id="the whole disk"),
        pytest.param({"data_root": str(Path.home())}, "holds far more than is meant", id="a home folder"),
        pytest.param({"data_root": ".."}, "data_root: .. holds far more", id="the folder above"),
        pytest.param({"data_root": "data"}, "data_root: data holds data/ingest, which", id="what ingest itself writes"),
        pytest.param(
            {"models": {"base": "models", "teacher": "models/world/teacher"}},
            "models.base: models holds models/sft, which the pipeline writes",
            id="a model that holds the models trained from it",
        ),
        pytest.param(
            {"benchmark": {"models": ["bas"]}},
            "benchmark.models: no model 'bas'; did you mean 'base'?",
            id="a model to benchmark that is none",
        ),
        pytest.param({"start": {"at": "sft"}}, "start.path: missing; starting at sft needs it", id="start of nothing"),
        pytest.param(
            {"start": {"at": "cot", "path": "elsewhere/x.json", "media_root": "m"}},
            "start.path: elsewhere/x.json lies outside data_root (data/raw)",
            id="a file of reasoning that DVC would not see",
        ),
        pytest.param(
            {"start": {"at": "cot", "path": "data/raw/x.json"}},
            "start.media_root: missing, and the train sources have not one media root that could be taken",
            id="reasoning without a media root",
        ),
        pytest.param(
            {"start": {"at": "teacher", "path": "models/a"}, "models": {"base": "b", "teacher": "models/b"}},
            "start.path: models/a is not models.teacher (models/b)",
            id="two teachers",
        ),
        pytest.param(
            {"models": {"base": "b", "teacher": "t", "a/b": "m"}}, "models.a/b: a name has letters", id="no file name"
        ),
        pytest.param({"models": {"base": "", "teacher": "t"}}, "models.base: no folder", id="a model without a folder"),
        pytest.param({"seed": -1}, "seed: Input should be greater than or equal to 0 (got -1)", id="seed below 0"),
        pytest.param({"seed": 2**32}, "seed: Input should be less than 4294967296", id="a seed that no trainer takes"),
        pytest.param({"seed": True}, "seed: a number is wanted (got True)", id="true is not 1"),
        pytest.param({"sft": {"learning_rate": float("inf")}}, "sft.learning_rate: Input should be a finite", id="inf"),
        pytest.param(
            {"video": {"fps": float("nan")}}, "video.fps: Input should be a finite number (got nan)", id="nan"
        ),
        pytest.param(
            {"grpo": {"objective": {"kind": "papo", "gamma": float("inf")}}},
            "grpo.objective.gamma: Input should be a finite",
            id="inf in an objective",
        ),
        pytest.param(
            {"video": None}, "video: `name: value` lines are wanted (got None)", id="a section without values"
        ),
        pytest.param(
            {"sft": {"guards": [1] * 100}}, "sft.guards: `name: value` lines are wanted (got", id="a long list"
        ),
        pytest.param({"benchmark": {"judge": {"model": "m"}}}, "benchmark.judge.base_url: missing", id="no address"),
        pytest.param(
            {"video": {"frames": 7}}, "video.frames: Input should be a multiple of 2 (got 7)", id="odd frames"
        ),
        pytest.param(
            {"video": {"min_frames": 64, "frames": 16}}, "video.min_frames: 64 is above video.frames (16)", id="frames"
        ),
        pytest.param(
            {"video": {"min_pixels": 9999, "max_pixels": 3136}},
            "video.min_pixels: 9999 is above video.max_pixels",
            id="pixels",
        ),
        pytest.param(
            {"filter": {"min_think_chars": 5000, "max_think_chars": 4000}},
            "filter.min_think_chars: 5000 is above",
            id="nothing kept",
        ),
        pytest.param({"grpo": {"micro_batch": 7}}, "grpo.micro_batch: 7 does not divide", id="part of a micro-batch"),
        pytest.param({"grpo": {"group_ranks": 5}}, "grpo.group_ranks: 5 does not divide", id="part of a group"),
        pytest.param(
            {"grpo": {"sampling": {"temperature": 0}}}, "grpo.sampling.temperature: 0.0; answers must", id="one answer"
        ),
        pytest.param(
            {"grpo": {"length": {"min_tokens": 600}}}, "grpo.length.min_tokens: 600 is above", id="an empty window"
        ),
        pytest.param(
            {"grpo": {"rollout_engine": "vllm", "rollout_max_len": 512, "sampling": {"max_tokens": 768}}},
            "grpo.sampling.max_tokens: 768 leaves no room for a prompt in rollout_max_len (512)",
            id="rollouts without room for a prompt",
        ),
        pytest.param(
            {
                "grpo": {
                    **{"rollout_engine": "vllm_server", "rollout_server": {"url": "http://a:1"}},
                    **{"rollout_max_len": 512, "sampling": {"max_tokens": 768}},
                }
            },
            "grpo.sampling.max_tokens: 768 leaves no room for a prompt in rollout_max_len (512)",
            id="rollouts of a server without room for a prompt",
        ),
        pytest.param(
            {"grpo": {"rollout_engine": "vllm_server"}},
            "grpo.rollout_server: missing; rollout_engine: vllm_server wants {url: http://HOST:PORT}",
            id="a server that is nowhere",
        ),
        pytest.param(
            {"grpo": {"rollout_engine": "vllm", "rollout_server": {"url": "http://a:1"}}},
            "grpo.rollout_server: http://a:1; rollout_engine: vllm asks no server",
            id="a server that nobody asks",
        ),
        pytest.param(
            {
                "grpo": {
                    **{"rollout_engine": "vllm_server", "rollout_server": {"url": "http://a:1"}},
                    "rollout_sleep": 1,
                }
            },
            "grpo.rollout_sleep: 1; only an engine beside the policy sleeps",
            id="a server that should sleep",
        ),
        pytest.param(
            {
                "grpo": {
                    **{"rollout_engine": "vllm_server", "rollout_server": {"url": "http://a:1"}},
                    "lora": {"rank": 4},
                }
            },
            "grpo.rollout_engine: vllm_server takes whole weights",
            id="a server for an adapter",
        ),
        pytest.param(
            {
                "grpo": {
                    **{"rollout_engine": "vllm_server", "rollout_server": {"url": "http://a:1"}},
                    "sampling": {"top_p": 0.9},
                }
            },
            "grpo.sampling.top_p: 0.9; vLLM tells probabilities before the nucleus is cut",
            id="a server's nucleus beside importance weights",
        ),
        *(
            pytest.param(
                {"grpo": {"rollout_engine": "vllm_server", "rollout_server": {"url": url}}},
                "grpo.rollout_server.url: a server's root is wanted, as http://HOST:PORT, without /v1",
                id=f"a server at {url or 'no address'}",
            )
            for url in ("", "localhost:8000", "ftp://a:1", "http://", "http://a:99999", "http://a:1/v1", "http://a b:1")
        ),
        pytest.param(
            {"grpo": {"rollout_engine": "vllm_server", "rollout_server": {"url": "http://a", "timeout_seconds": 0}}},
            "grpo.rollout_server.timeout_seconds: Input should be greater than 0",
            id="no time for a server",
        ),
        pytest.param(
            {"engine": {"max_model_len": 1024}, "benchmark": {"sampling": {"max_tokens": 1024}}},
            "benchmark.sampling.max_tokens: 1024 leaves no room for a prompt in engine.max_model_len (1024)",
            id="completions without room for a prompt",
        ),
        pytest.param(
            {"benchmark": {"views": ["shuffled"]}}, "benchmark.views: ordered is missing", id="controls alone"
        ),
        pytest.param({"benchmark": {"frames": [16, 16]}}, "benchmark.frames: 16 stands twice", id="a frame cap twice"),
        pytest.param({"benchmark": {"test_frames": [0]}}, "benchmark.test_frames.0: Input should be", id="no frames"),
        pytest.param(
            {"benchmark": {"suites": [{"name": "mmvu", "annotations": "data/benchmarks/mmvu", "subset": "easy"}]}},
            "benchmark.suites.0.subset: no subset of mmvu; subsets: none (got 'easy')",
            id="a subset that a suite would not read",
        ),
        pytest.param(
            {"benchmark": {"suites": [{"name": "mmvu", "annotations": "data/benchmarks/../mmvu"}]}},
            "benchmark.suites.0.annotations: data/benchmarks/../mmvu lies outside benchmark.annotations_root",
            id="annotations that DVC would not see",
        ),
        pytest.param(
            {"benchmark": {"suites": [{"name": "mmvu", "annotations": "data/benchmarks/mmvu"}] * 2}},
            "benchmark.suites: mmvu, all of it stands twice",
            id="a suite twice",
        ),
        pytest.param(
            {
                "ingest": {
                    "sources": [
                        {"name": "a", "format": "world", "split": "train", "seed": 3},
                        {"name": "b", "format": "world", "split": "test", "seed": 3},
                    ]
                }
            },
            "ingest.sources.1.seed: 3 is that of a source of another split",
            id="the test split's scenes in training",
        ),
        pytest.param(curriculum({"capton": 1.0}), "world.curriculum.0.mix.capton", id="a kind of row that is none"),
        pytest.param(
            curriculum({"caption": -1.0}), "mix.caption: Input should be greater than 0", id="a share below 0"
        ),
        pytest.param(curriculum({}), "world.curriculum.0.mix: no kind of row", id="a skill without rows"),
        pytest.param(
            curriculum({"caption": 1.0}, save_as="../teacher"),
            "world.curriculum.0.save_as: String should match pattern",
            id="a model outside its folder",
        ),
        pytest.param({"world": {"heads": 7}}, "world.heads: 7 does not divide world.hidden_size (128)", id="heads"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, monkeypatch, edit, text):
    monkeypatch.chdir(ROOT)  # folders are held against the project's
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | edit))
    with pytest.raises(params.ParamsError) as caught:
        params.load(path)
    assert text in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(
        params.ParamsError, match="no such file; run from the project root, or `python -m tasks.profile mini`"
    ):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(b"a: [", "not valid YAML: line 1, column 5: expected the node content", id="an open bracket"),
        pytest.param(b"sft:\n\tepochs: 1\n", "line 2, column 1: .* (a tab; indent with spaces)", id="a tab"),
        pytest.param(b"seed:0\nsft: {}\n", "not valid YAML: line 2, column 4: mapping values", id="no space"),
        pytest.param(b"a: " + b"[" * 5000, "not valid YAML: nested too deeply", id="thousands of brackets"),
        pytest.param(b"seed: 0\0", "not valid YAML: unacceptable character", id="a NUL byte"),
        pytest.param(b"seed: 0\n---\nseed: 1\n", "but found another document", id="two documents"),
        pytest.param(b"seed: 0100", "line 1, column 7: 0100 is no plain number", id="eight or a hundred"),
        pytest.param(b"seed: 2020-13-45", "line 1, column 7: '2020-13-45' is no timestamp", id="no such day"),
        pytest.param(b"seed: !!int abc", "line 1, column 7: 'abc' is no int", id="a word tagged as a number"),
        pytest.param(b"seed: !!bool maybe", "line 1, column 7: 'maybe' is no bool", id="neither true nor false"),
        pytest.param(b"seed: " + b"9" * 5000, "line 1, column 7: '9999999999", id="thousands of digits"),
        pytest.param(b"seed: 1:40", "line 1, column 7: 1:40 is no plain number", id="sixties"),
        pytest.param(b"x: !!python/object:os.system y", "could not determine a constructor", id="a Python object"),
        pytest.param(b"seed: 0 # caf\xe9", "byte 13 is not UTF-8; save it as UTF-8 text", id="Latin-1"),
        pytest.param(b"# nothing\n", "empty; `python -m tasks.profile mini` writes a whole one", id="empty"),
        pytest.param(b"- a\n", "`name: value` lines are wanted (got ['a'])", id="a list"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path, text, says):
    (tmp_path / "params.yaml").write_bytes(text)
    with pytest.raises(params.ParamsError) as caught:
        params.load(tmp_path / "params.yaml")
    message = str(caught.value)
    assert all(part in message for part in says.split(" .* ")) and "\n" not in message, message


def test_a_folder_in_place_of_the_file_is_told(tmp_path):
    with pytest.raises(params.ParamsError, match="cannot be read: Is a directory"):
        params.load(tmp_path)


def test_all_that_does_not_go_together_is_told_at_once(tmp_path):
    video, chars = {"min_frames": 64, "frames": 4}, {"min_think_chars": 9, "max_think_chars": 8}
    edit = {"video": video, "filter": chars}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(MINIMAL | edit))
    with pytest.raises(params.ParamsError) as caught:
        params.load(tmp_path / "params.yaml")
    assert [line.partition(": ")[2].partition(":")[0] for line in str(caught.value).splitlines()] == [
        "video.min_frames",
        "filter.min_think_chars",
    ]


def test_lengths_of_endpoints_are_their_own(tmp_path):
    models = {"base": "b.yaml", "teacher": "t.yaml"}
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump(
            MINIMAL
            | {"models": models, "engine": {"max_model_len": 128}, "benchmark": {"sampling": {"max_tokens": 128}}}
        )
    )
    assert params.load(tmp_path / "params.yaml").engine.max_model_len == 128


@pytest.mark.parametrize("name", ["base", "teacher"])
def test_a_model_that_a_stage_wants_is_told_where_it_is_missing(tmp_path, name):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(MINIMAL | {"models": {"other": "o"}}))
    loaded = params.load(tmp_path / "params.yaml")
    with pytest.raises(params.ParamsError, match=f"^params.yaml: models.{name}: missing$"):
        getattr(loaded, name)()


def test_subsets_are_those_that_the_suites_read():
    from tasks.benchmark.suites import video_mmmu, vsi_bench
    from tasks.params.benchmark import SUBSETS

    assert {"vsi_bench": tuple(vsi_bench.SUBSETS), "video_mmmu": (video_mmmu.QUESTION_ONLY,)} == SUBSETS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            "seed: 0\nsft: {epochs: 1}\nsft: {epochs: 2}\n", "'sft' stands twice, in lines 2 and 3", id="section"
        ),
        pytest.param("sft:\n  epochs: 1\n  dtype: float32\n  epochs: 2\n", "'epochs' .* lines 2 and 4", id="field"),
        pytest.param("ingest: {sources: [{name: a, name: b}]}\n", "'name' stands twice", id="in a list"),
    ],
)
def test_a_key_that_stands_twice_is_refused_as_dvc_does(tmp_path, text, says):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(params.ParamsError, match=says):
        params.load(tmp_path / "params.yaml")


def test_the_page_of_all_fields_is_what_the_classes_say():
    page = (ROOT / "docs/params.md").read_text()
    assert page == params_command.page(), "run `python -m tasks.params`"
    assert "A_i += alpha * s_i" in page and "### " not in page
