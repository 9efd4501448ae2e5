"""Checkpoint folders: one clear line for each way of being wrong; a round trip for the right one."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.core.models.errors import ModelError
from tasks.core.models.load import check_folder, checkpoint_digest, load_model, load_processor, save_model


def broken(folder, tmp_path, damage):
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    damage(copy)
    return copy


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(shutil.rmtree, "no such model folder", id="missing"),
        pytest.param(lambda f: (f / "config.json").unlink(), "no config.json", id="not a model"),
        pytest.param(lambda f: (f / "config.json").write_text("{"), "not a JSON object", id="torn config"),
        pytest.param(
            lambda f: (f / "config.json").write_text(json.dumps({"model_type": "llama"})), "'llama'", id="other model"
        ),
        pytest.param(
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "safetensors", id="pickled weights"
        ),
    ],
)
def test_unusable_folder_is_one_line(tiny_model, tmp_path, damage, said):
    folder = broken(tiny_model, tmp_path, damage)
    for use in (check_folder, load_model, load_processor):
        with pytest.raises(ModelError, match=said) as caught:
            use(folder)
        assert "\n" not in str(caught.value)
        assert str(folder) in str(caught.value)


def test_torn_weights_are_one_line(tiny_model, tmp_path):
    folder = broken(tiny_model, tmp_path, lambda f: (f / "model.safetensors").write_bytes(b"torn"))
    with pytest.raises(ModelError, match="model.safetensors: torn"):
        load_model(folder)


def test_missing_weights_are_not_made_up(tiny_model, tmp_path):
    def damage(folder):
        weights = load_file(folder / "model.safetensors")
        del weights["model.norm.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError, match="1 weights are missing, .*norm.weight"):
        load_model(broken(tiny_model, tmp_path, damage))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_named(tiny_model, tmp_path, value):
    def damage(folder):
        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"][3] = value
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError, match=r"1 of \d+ weights hold numbers that are NaN or infinite, .*norm.weight"):
        load_model(broken(tiny_model, tmp_path, damage))


def test_missing_processor_files_are_one_line(tiny_model, tmp_path):
    def damage(folder):
        for file in folder.iterdir():
            if file.name not in ("config.json", "model.safetensors"):
                file.unlink()

    with pytest.raises(ModelError, match="processor"):
        load_processor(broken(tiny_model, tmp_path, damage))


def test_round_trip_keeps_weights_and_replaces_the_folder(tiny_model, tmp_path):
    model, processor = load_model(tiny_model), load_processor(tiny_model)
    target = tmp_path / "copy"
    target.mkdir()
    (target / "stale.txt").write_text("from an earlier run")
    save_model(model, processor, target)
    again = load_model(target)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert not (target / "stale.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]
    assert checkpoint_digest(target) == checkpoint_digest(target)


def test_the_digest_sees_every_file(tiny_model, tmp_path):
    folder = broken(tiny_model, tmp_path, lambda f: (f / "chat_template.jinja").write_text("changed"))
    assert checkpoint_digest(folder) != checkpoint_digest(tiny_model)
