import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from tasks.core.models.errors import ModelError
from tasks.sft.given import take_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    sizes = {"text_config": {"hidden_size": 8}, "vision_config": {"hidden_size": 8}}
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl", **sizes}))
    save_file({"weight": np.ones(2, np.float32)}, tmp_path / "elsewhere.bin")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere.bin")
    return folder


def test_files_are_shared_links_are_followed_and_an_older_model_goes(tmp_path, checkpoint):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.bin").touch()
    assert take_checkpoint(checkpoint, out) == 2
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
    assert not (out / "model.safetensors").is_symlink()
    assert os.path.samefile(out / "config.json", checkpoint / "config.json")


def test_files_are_copied_where_they_cannot_be_shared(tmp_path, checkpoint, monkeypatch):
    def refuse(*_):
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    take_checkpoint(checkpoint, tmp_path / "out")
    assert (tmp_path / "out/model.safetensors").read_bytes() == (tmp_path / "elsewhere.bin").read_bytes()


def test_a_folder_without_a_model_is_refused_and_nothing_is_lost(tmp_path, checkpoint):
    take_checkpoint(checkpoint, tmp_path / "out")
    with pytest.raises(ModelError):
        take_checkpoint(tmp_path / "nowhere", tmp_path / "out")
    assert (tmp_path / "out/config.json").is_file()
