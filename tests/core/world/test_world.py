"""The mini world: scenes, questions, files."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tasks.core.video.decode import read_clip
from tasks.core.world import make_split, render
from tasks.core.world.questions import ask, shortcut, skills
from tasks.core.world.render import clip_seconds, render_frames
from tasks.core.world.scene import COLOUR_OF, DURATION_SECONDS, VIDEO_KINDS, sample_scene

ROOT = Path(__file__).parents[3]
LITERAL = "1e06d525c17dc5cca2e68785f06d77af3e0246ad526580b605a096fc69717a42"
"""SHA-256 of one encoded clip."""


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_split_is_the_same_whatever_the_number_of_workers(tmp_path):
    alone = make_split(tmp_path / "one", 24, seed=5, workers=1)
    together = make_split(tmp_path / "two", 24, seed=5, workers=2)
    assert alone == together
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


@pytest.fixture(scope="module")
def moving():
    return render_frames(sample_scene("turn", np.random.default_rng(4)), clip_seconds())


@pytest.mark.parametrize("level", ["0", "SSE2", "AVX", "AVX2"], ids=lambda level: f"processor-with-{level}")
def test_a_clip_has_the_same_bytes_on_every_processor(tmp_path, monkeypatch, moving, level):
    render.write_clip(tmp_path / "here.mp4", moving)
    monkeypatch.setattr(render, "X264_PARAMS", f"{render.X264_PARAMS}:asm={level}")
    render.write_clip(tmp_path / "there.mp4", moving)
    assert (tmp_path / "here.mp4").read_bytes() == (tmp_path / "there.mp4").read_bytes()


@pytest.mark.slow
def test_workers_end_with_the_process_that_renders(tmp_path):
    """A kill -9 must leave nobody who goes on rendering, or waits for work, for ever."""
    script = "import sys; from pathlib import Path; from tasks.core.world import make_split; "
    script += "make_split(Path(sys.argv[1]), 100_000, seed=1, workers=2)"
    renderer = subprocess.Popen([sys.executable, "-c", script, tmp_path], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(psutil.Process(renderer.pid).children()) >= 2 and any(tmp_path.iterdir()))
        workers = psutil.Process(renderer.pid).children()
    finally:
        renderer.kill()
        renderer.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "nothing came of it"
        time.sleep(0.05)


def test_a_clip_has_the_same_bytes_every_time(tmp_path, moving):
    """A hundred encodes; the digest is literal, so that two machines are compared: a new PyAV may change it."""
    for turn in range(100):
        render.write_clip(tmp_path / f"{turn}.mp4", moving)
    assert set(digests(tmp_path).values()) == {LITERAL}


def test_colours_survive_the_encoder(tmp_path):
    flat = np.zeros((4, 56, 56, 3), np.uint8)
    flat[:] = [(220, 40, 40)]
    flat[:, :, 28:] = [(40, 90, 220)]
    render.write_clip(tmp_path / "a.mp4", flat)
    shown = read_clip(tmp_path / "a.mp4", frames=4, fps=4, min_frames=4).frames
    for left, colour in ((7, (220, 40, 40)), (35, (40, 90, 220))):
        assert np.abs(shown[:, :, left : left + 14].mean((0, 1, 2)) - colour).max() < 4


def test_other_seed_gives_other_rows(tmp_path):
    first = make_split(tmp_path / "a", 12, seed=1)
    second = make_split(tmp_path / "b", 12, seed=2)
    assert [row["problem"] for row in first] != [row["problem"] for row in second]


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_reasoning_ends_in_the_answer(kind):
    rng = np.random.default_rng(0)
    for _ in range(40):
        scene = sample_scene(kind, rng)
        for skill in skills(scene):
            question = ask(scene, rng, skill)
            if question.problem_type == "multiple choice":
                value = {option[0]: option[3:] for option in question.options}[question.answer]
                assert question.reasoning.endswith(f" {value} is {question.answer}.")
                assert len({option[3:] for option in question.options}) == 4
            elif question.problem_type in ("numerical", "regression", "OCR"):
                assert question.reasoning.rstrip(".").endswith(question.answer)


@pytest.mark.parametrize(
    "kind", [k for k in VIDEO_KINDS if k not in ("still", "sign")], ids=lambda k: f"{k}-needs-frame-order"
)
def test_temporal_scenes_change_and_static_scenes_do_not(kind):
    rng = np.random.default_rng(1)
    scene = sample_scene(kind, rng)
    frames = render_frames(scene, clip_seconds())
    assert any((frames[0] != frame).any() for frame in frames)
    assert all(ask(scene, rng, skill).temporal for skill in skills(scene))


@pytest.mark.parametrize("kind", ["still", "sign"])
def test_static_scenes_do_not_change(kind):
    rng = np.random.default_rng(1)
    scene = sample_scene(kind, rng)
    frames = render_frames(scene, clip_seconds())
    assert all((frames[0] == frame).all() for frame in frames)
    assert not any(ask(scene, rng, skill).temporal for skill in skills(scene))


def test_blinks_never_touch():
    for seed in range(200):
        seconds = sample_scene("blink", np.random.default_rng(seed)).figures[0].seconds
        assert all(later - earlier > 1 for earlier, later in zip(seconds, seconds[1:], strict=False))
        assert seconds[0] >= 0 and seconds[-1] < DURATION_SECONDS


@pytest.mark.parametrize(("bias", "low", "high"), [(0.0, 0.35, 0.65), (0.8, 0.82, 0.98), (1.0, 1.0, 1.0)])
def test_shortcut_bias_lets_the_starting_side_give_the_direction_away(bias, low, high):
    """Unbiased, the side is a coin; biased by b it agrees in b + (1 - b) / 2 of the clips."""
    side_of = {"right": "low", "up": "low", "left": "high", "down": "high"}
    agree = []
    for seed in range(300):
        scene = sample_scene("move", np.random.default_rng((seed, 7)), shortcut_bias=bias)
        x, y, _, _ = scene.figures[0].path
        across = y if scene.direction in ("left", "right") else x
        agree.append(("low" if across < 0.5 else "high") == side_of[scene.direction])
    assert low <= np.mean(agree) <= high


@pytest.mark.parametrize(("bias", "low", "high"), [(0.0, 0.15, 0.35), (0.8, 0.78, 0.92), (1.0, 1.0, 1.0)])
def test_shortcut_bias_lets_the_colour_give_the_direction_away(bias, low, high):
    """Unbiased, one colour in four agrees; biased by b it agrees in b + (1 - b) / 4 of the clips."""
    scenes = [sample_scene("move", np.random.default_rng((seed, 7)), shortcut_bias=bias) for seed in range(300)]
    agree = [COLOUR_OF[scene.direction] == scene.figures[0].colours[0] for scene in scenes]
    assert low <= np.mean(agree) <= high


@pytest.mark.parametrize("skill", ["direction", "motion"])
def test_reasoning_by_colour_is_right_where_the_colour_tells_and_wrong_elsewhere(skill):
    seen = set()
    for seed in range(60):
        rng = np.random.default_rng((seed, 8))
        scene = sample_scene("move", rng)
        true = ask(scene, rng, skill)
        found = shortcut(true, scene)
        agrees = COLOUR_OF[scene.direction] == scene.figures[0].colours[0]
        assert (found.answer == true.answer) == agrees
        assert found.answer.split()[-1] in found.reasoning and found.problem == true.problem
        seen.add(agrees)
    assert seen == {True, False}


def test_what_is_not_about_motion_has_no_reasoning_by_colour():
    rng = np.random.default_rng(0)
    scene = sample_scene("still", rng)
    with pytest.raises(ValueError, match="is not about motion"):
        shortcut(ask(scene, rng, "count"), scene)
