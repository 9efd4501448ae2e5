"""The rehearsal of the 7B run: what it builds is as published; its smallest size goes the whole road."""

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest
import yaml
from PIL import Image

from measure.rehearsal import __main__ as rehearsal
from measure.rehearsal import settings
from measure.rehearsal.checkpoint import GENERATION, SIZES, keys_of, make_checkpoint, size_of
from measure.rehearsal.data import EVALUATIONS, IMAGES, write_data
from measure.rehearsal.inputs import CLIPS
from measure.rehearsal.settings import Rehearsal
from measure.rehearsal.vocabulary import released_tokenizer
from tasks import params
from tasks.core.io.errors import StageError
from tasks.core.models.load import load_model
from tasks.core.sizing.shapes import SHAPES, model_in
from tests.support.graph import ROOT


def test_a_checkpoint_has_the_published_names_in_several_shards(tmp_path):
    folder = tmp_path / "model"
    count = make_checkpoint(folder, SIZES["tiny"])
    names = keys_of(folder)
    assert {name.partition(".")[0] for name in names} == {"model", "visual"} and len(set(names.values())) > 1
    assert {
        "visual.blocks.0.attn.qkv.weight",
        "model.layers.1.mlp.gate_proj.weight",
        "model.embed_tokens.weight",
    } <= set(names)
    shipped = json.loads((folder / "generation_config.json").read_text())
    assert {name: shipped[name] for name in GENERATION} == GENERATION
    model: Any = load_model(folder, "auto", "cpu")
    known = model_in(folder)
    assert known is not None and known.parameters == count == sum(value.numel() for value in model.parameters())
    assert model.get_input_embeddings().weight.shape[0] == 1000 > model.config.text_config.eos_token_id


def test_the_vocabulary_is_the_released_one():
    tokenizer = released_tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    assert len(tokenizer) == 151665
    assert ids(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]) == [151643, 151644, 151645]
    assert ids(["<|vision_start|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>"]) == [
        151652,
        151655,
        151656,
        151657,
    ]
    text = "<|im_start|>Hello world 12345\n\n<think> It's   a ball.</think> 你好，世界 naïve 🎈 <|video_pad|>"
    # The middle as tiktoken reads the ranks.
    plain = [9707, 1879, 220, 16, 17, 18, 19, 20]
    assert tokenizer(text).input_ids[:9] == [151644, *plain] and tokenizer(text).input_ids[-1] == 151656
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert "<|" not in tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True)


def test_data_lie_as_published(tmp_path):
    clips = [ROOT / "tests/fixtures/clips" / name for name in CLIPS]
    write_data(tmp_path, clips)
    train = json.loads((tmp_path / "raw/Video-R1-260k.json").read_text())
    assert {row["problem_type"] for row in train} == {"multiple choice", "numerical", "OCR", "free-form", "regression"}
    for row in train:
        assert (tmp_path / "media/Video-R1-data" / row["path"]).is_file(), row
    for name in EVALUATIONS:
        [row] = json.loads((tmp_path / f"raw/eval_{name}.json").read_text())
        assert row["problem_id"] == 0 and (tmp_path / "media" / row["path"]).is_file()
    modes = {Image.open(path).mode for path in (tmp_path / "media/Video-R1-data/rehearsal").glob("*.[pj][np]g")}
    assert modes == set(IMAGES)


@pytest.mark.parametrize("start", ["teacher", "cot"])
def test_the_profile_stays_but_for_what_a_processor_needs(tmp_path, start):
    settings.write_params(tmp_path, start, Rehearsal())
    ours = params.load(tmp_path / "params.yaml")
    theirs = params.Params.model_validate(yaml.safe_load((ROOT / "profiles/video_r1_7b.yaml").read_text()))
    assert (ours.video.max_pixels, ours.video.frames) == (theirs.video.max_pixels, theirs.video.frames)
    assert (ours.sft.dtype, ours.grpo.dtype, ours.engine.dtype) == ("bfloat16",) * 3
    changed = set(settings.changes(start, Rehearsal()))
    assert {name for name in changed if name.startswith("grpo.")} == {
        f"grpo.{name}"
        for name in ("steps", "group", "objective", "sampling", "rollout_engine", "rollout_sleep", "frame_cache_gb")
    }
    assert ours.grpo.beta == theirs.grpo.beta > 0 and ours.ingest.sources == theirs.ingest.sources


def test_on_a_gpu_the_adapter_profile_keeps_its_group_and_starts_at_its_checkpoint(tmp_path):
    asked = Rehearsal("video_r1_7b_lora", "7b", 28, gpu=True, tokens=128)
    assert (settings.starts("video_r1_7b"), settings.starts(asked.profile)) == (["teacher", "cot"], ["sft"])
    settings.write_params(tmp_path, "sft", asked)
    ours = params.load(tmp_path / "params.yaml")
    theirs = params.Params.model_validate(settings.values_of(asked.profile))
    for name in ("group", "objective", "prompts_per_step", "lora", "micro_batch", "train_vision", "cache_features_gb"):
        assert getattr(ours.grpo, name) == getattr(theirs.grpo, name), name
    assert (ours.start.at, str(ours.start.path)) == ("sft", str(settings.BASE)) and ours.grpo.lora.rank > 0
    assert ours.grpo.sampling.max_tokens == 128


@pytest.mark.parametrize(
    ("name", "layers", "expected"),
    [
        pytest.param("3b", None, (2, 2), id="a few"),
        pytest.param("3b", 12, (12, 32), id="some, with the whole encoder"),
        pytest.param("7b", 28, (28, 32), id="all of them"),
    ],
)
def test_layers_of_a_size(name, layers, expected):
    shape = size_of(name, layers).shape
    assert (shape.layers, shape.vision_layers) == expected and shape.hidden == SHAPES[name].hidden
    with pytest.raises(StageError, match="--layers 99: the 7b model has 28"):
        size_of("7b", 99)


@pytest.mark.parametrize(
    ("seen", "processes", "says"),
    [
        pytest.param(0, 1, "PyTorch sees no GPU here", id="none"),
        pytest.param(1, 2, r"--processes 2: PyTorch sees 1 GPU\(s\), and each process wants one", id="too few"),
    ],
)
def test_more_than_the_gpus_can_do_is_refused(seen, processes, says):
    with pytest.raises(StageError, match=says):
        rehearsal.check_gpus(seen, processes)


def test_a_stage_that_is_left_out_is_left_out_of_the_shared_runs_too(tmp_path, monkeypatch):
    asked = Rehearsal(size="tiny", without=["validate", "sft"])
    ran = []

    def run(folder, stage, processes=1, gpu=False):
        ran.append((stage, processes))
        return rehearsal.Ran(stage, 0.0, 0.0, 0.0, 0.0, "")

    monkeypatch.setattr(rehearsal, "run", run)
    rehearsal.rehearse(tmp_path, asked, 2)
    assert {stage.split()[0] for stage, _ in ran} == {"ingest", "annotate", "filter", "grpo", "benchmark", "report"}
    assert ran[-1] == ("grpo", 2)


def test_the_log_is_a_table_with_its_sums():
    done = [
        rehearsal.Ran("ingest", 60.0, 50.0, 1.25, 0.0, "a | b"),
        rehearsal.Ran("sft", 120.0, 90.0, 13.0, 20.34, "loss 12"),
    ]
    text = rehearsal.table(done, Rehearsal(layers=12))
    assert text.startswith("# Rehearsal of video_r1_7b, widths of 3b, 12 layers\n")
    assert "| ingest | 60 | 50 | 1.2 | 0.0 | a / b |\n| sft | 120 | 90 | 13.0 | 20.3 | loss 12 |\n" in text
    assert text.endswith("3 minutes in all, 13.0 GiB at most.\n")


@pytest.mark.slow
def test_a_stage_that_fails_ends_the_rehearsal_with_what_it_said(tmp_path):
    with pytest.raises(StageError, match=r"(?s)ingest: ended with 2:.*params.yaml: no such file"):
        rehearsal.run(tmp_path, "ingest")


@pytest.mark.slow
def test_memory_is_that_of_all_processes_of_a_stage():
    inner = "import time; kept = bytearray(100 << 20); time.sleep(2)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    child = subprocess.Popen([sys.executable, "-c", outer])
    _, together = rehearsal.wait(child, time.monotonic() + 60)
    assert together > 100 << 20 and child.returncode == 0


@pytest.mark.slow
def test_memory_that_processes_share_counts_once():
    """Pages of a process that it and its forked child both read."""
    code = "import os, time; kept = b'x' * (200 << 20); os.fork(); time.sleep(2)"
    child = subprocess.Popen([sys.executable, "-c", code])
    _, together = rehearsal.wait(child, time.monotonic() + 60)
    assert 200 << 20 < together < 300 << 20 and child.returncode == 0


def test_a_stage_that_hangs_is_ended(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    rehearsal.wait(child, 0.0)
    assert child.returncode == -9


@pytest.mark.slow
def test_the_smallest_rehearsal_goes_the_whole_road(tmp_path):
    """Without the two processes at its end, which `tests/stages/launch` takes through the same settings."""
    command = [sys.executable, "-m", "measure.rehearsal", "--size", "tiny", "--max-pixels", "12544", "--processes", "1"]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path / "rehearsal")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    *told, last = done.stdout.splitlines()
    names = [line[:22].strip() for line in told]
    assert names == [
        "checkpoint, data",
        *rehearsal.TEACHER,
        *rehearsal.REASONING,
        *rehearsal.ANSWERS,
    ]
    assert last == "the rehearsal is through" and sum("gradient norm" in line for line in told) == 2
