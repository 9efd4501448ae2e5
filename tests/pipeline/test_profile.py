"""Profiles: laid over params.yaml, with a base or whole; one that is broken is told and writes nothing."""

from pathlib import Path

import pytest

from tasks import params, profile
from tests.support.graph import ROOT


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with the profiles and an old params.yaml."""
    (tmp_path / "profiles").mkdir()
    for path in (ROOT / "profiles").glob("*.yaml"):
        (tmp_path / "profiles" / path.name).write_text(path.read_text())
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_profile_is_laid_over_params_and_the_changes_are_told(project, capsys):
    assert profile.main(["video_r1_7b"]) == 0
    assert (project / "params.yaml").read_text() == (ROOT / "profiles/video_r1_7b.yaml").read_text()
    told = capsys.readouterr().out
    assert "prompt.template: brief -> video_r1\n" in told
    assert "models.base: models/world/base -> models/qwen2.5-vl-7b-instruct\n" in told
    assert "models.sft" not in told, "what stays is not told"


SHORT_BASE = """# The base.
# Two remarks.
seed: 1  # why one
grpo:
  # over the group
  group: 8  # theirs
  objective:  # the published one
    kind: tgrpo_reward
    alpha: 0.3

  lora: {rank: 0}
sft:
  epochs: 1.0
"""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param("seed: 2\n", SHORT_BASE.replace("seed: 1  # why one", "seed: 2"), id="remark of the base gone"),
        pytest.param(
            "grpo:\n  group: 4  # ours\n",
            SHORT_BASE.replace("group: 8  # theirs", "group: 4  # ours"),
            id="value with its remark, the rest as it stands",
        ),
        pytest.param(
            "grpo:\n  objective: {kind: grpo}  # plain\n  lora: {rank: 4}\n",
            SHORT_BASE.replace(
                "objective:  # the published one\n    kind: tgrpo_reward\n    alpha: 0.3",
                "objective: {kind: grpo}  # plain",
            ).replace("rank: 0", "rank: 4"),
            id="a mapping in braces replaces a whole block",
        ),
        pytest.param("sft:\n  epochs: 2.0", SHORT_BASE.replace("epochs: 1.0", "epochs: 2.0"), id="no line end"),
    ],
)
def test_a_profile_may_name_a_base_and_only_what_differs(tmp_path, values, expected):
    (tmp_path / "whole.yaml").write_text(SHORT_BASE)
    (tmp_path / "short.yaml").write_text(f"# The short.\nbase: whole\n{values}")
    assert profile.text_of("whole", tmp_path) == SHORT_BASE
    assert profile.text_of("short", tmp_path) == expected.replace("# The base.\n# Two remarks.\n", "# The short.\n")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("base: none\n", "no profile 'none'", id="no such base"),
        pytest.param("base: short\n", "'short' must be a whole params file", id="a base of its own"),
        pytest.param("base: whole\ngrpo:\n  gruop: 4\n", "its base has no grpo.gruop", id="no such value"),
        pytest.param("base: whole\nsftt: 1\n", "its base has no sftt", id="no such section"),
    ],
)
def test_a_base_or_a_value_that_is_none_is_refused(tmp_path, text, error):
    (tmp_path / "whole.yaml").write_text(SHORT_BASE)
    (tmp_path / "short.yaml").write_text(text)
    with pytest.raises(profile.ProfileError, match=error):
        profile.text_of("short", tmp_path)


@pytest.mark.parametrize("name", ["video_r1_7b_8gpu", "video_r1_7b_lora"])
def test_the_published_recipe_is_kept_where_the_machine_is_another(name):
    """As many rows and prompts a step, the same objective and rewards; `ours` is a profile of its own."""
    published, other = (
        params.parse(profile.text_of(each, ROOT / "profiles"), Path(each)) for each in ("video_r1_7b", name)
    )
    gpus = {"video_r1_7b": 4, "video_r1_7b_8gpu": 8, "video_r1_7b_lora": 1}

    def step(config: params.Params, count: int) -> tuple[float, int]:
        return config.grpo.prompts_per_step * count / config.grpo.group_ranks, config.grpo.group

    assert step(other, gpus[name]) == step(published, gpus["video_r1_7b"]) == (4, 8)
    for field in ("objective", "steps", "beta", "length", "sampling", "reward_variant", "scale_rewards", "loss_type"):
        assert getattr(other.grpo, field) == getattr(published.grpo, field), field
    ours = params.parse(profile.text_of("video_r1_7b_ours", ROOT / "profiles"), Path("ours"))
    assert ours.grpo.objective != published.grpo.objective
    assert ours.grpo.steps * step(ours, 4)[0] == published.grpo.steps * 4, "as many prompts"


def test_the_same_profile_changes_nothing(project, capsys):
    assert profile.main(["mini"]) == 0
    assert capsys.readouterr().out == "params.yaml is now profiles/mini.yaml (0 values changed)\n"


def test_a_profile_may_begin_with_a_file_of_reasoning(project, capsys):
    assert profile.main(["video_r1_7b", "--start", "cot=data/raw/x.json"]) == 0
    start = params.load(project / "params.yaml").start
    assert (start.at, start.path) == ("cot", "data/raw/x.json")
    [first, *_] = params.sources_of(start, params.load(project / "params.yaml").ingest)
    assert (first.format, first.split, first.media_root) == ("video_r1_cot", "train", "data/media/Video-R1-data")
    assert "start.path: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "start", "asked"),
    [
        pytest.param("video_r1_7b", "sft=models/x", False, id="72B that nobody asks need not be there"),
        pytest.param("video_r1_7b_ours", "cot=data/raw/x.json", False, id="of a profile with a base"),
        pytest.param("mini", "sft=models/x", True, id="the benchmark asks it"),
    ],
)
def test_a_teacher_that_nobody_asks_is_no_model_of_the_run(project, name, start, asked):
    """DVC would want its folder, for each model is a dependency of its benchmark."""
    assert profile.main([name, "--start", start]) == 0
    models = params.load(project / "params.yaml").models
    assert list(models) == ["base", *(["teacher"] if asked else []), "sft", "grpo"]


@pytest.mark.parametrize("text", [b"sft:\n\tepochs: 1\n", b"- a\n", b"seed: \xff\n", b""])
def test_a_broken_params_file_is_replaced(project, capsys, text):
    (project / "params.yaml").write_bytes(text)
    assert profile.main(["mini"]) == 0
    assert "video.frames: (none) -> 16" in capsys.readouterr().out
    assert (project / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()


@pytest.mark.parametrize("start", ["cot", "cot=", "rl=models/x", "=x"])
def test_a_start_that_is_none_is_refused(project, start):
    with pytest.raises(profile.ProfileError, match="cot=FILE or sft=FOLDER is wanted"):
        profile.main(["mini", "--start", start])


def test_an_unknown_profile_is_refused_with_the_list(project):
    before = (project / "params.yaml").read_text()
    with pytest.raises(profile.ProfileError) as refused:
        profile.main(["maxi"])
    known = ", ".join(sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml")))
    assert str(refused.value) == f"no profile 'maxi'; profiles: {known}"
    assert (project / "params.yaml").read_text() == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(b"grpo: [\n", "profiles/bad.yaml: not YAML: ", id="cut off"),
        pytest.param(b"seed: \xff\n", "profiles/bad.yaml: cannot be read: ", id="no UTF-8"),
        pytest.param(b"- a\n", "profiles/bad.yaml: .*`name: value` lines are wanted", id="a list"),
        pytest.param(b"", "profiles/bad.yaml: empty", id="empty"),
        pytest.param(b"base: mini\ngrpo: 3\n", "bad.yaml: grpo: `name: value` lines are wanted", id="a number"),
        pytest.param(b"base: [mini]\n", "no profile '", id="a base that is no name"),
    ],
)
def test_a_broken_profile_is_told_and_writes_nothing(project, text, says):
    before = (project / "params.yaml").read_text()
    (project / "profiles/bad.yaml").write_bytes(text)
    with pytest.raises((profile.ProfileError, params.ParamsError), match=says) as refused:
        profile.main(["bad"])
    assert "\n" not in str(refused.value)
    assert (project / "params.yaml").read_text() == before


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param({"a": 1}, {"a": 1}, [], id="equal"),
        pytest.param({"a": {"b": 1}}, {"a": {"b": 2}}, [("a.b", "1", "2")], id="nested"),
        pytest.param({"a": 1}, {"b": 1}, [("b", "(none)", "1"), ("a", "1", "(none)")], id="gone and new"),
        pytest.param({"a": [1]}, {"a": [1, 2]}, [("a", "[1]", "[1, 2]")], id="a list is one value"),
        pytest.param({"a": "1"}, {"a": 1}, [("a", "'1'", "1")], id="text is not a number"),
        pytest.param(
            {"a": {}}, {"a": {"b": None}}, [("a.b", "(none)", "null"), ("a", "{}", "(none)")], id="an empty section"
        ),
    ],
)
def test_changes(old, new, expected):
    assert profile.changes(old, new) == expected
