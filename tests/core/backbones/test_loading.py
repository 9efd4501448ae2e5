"""Checkpoint folders as they are published: in shards, under old and new names, settings and template anywhere."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from tasks.core.backbones import backbone_of
from tasks.core.models.errors import ModelError
from tasks.core.models.load import backbone_in, frame_shape_in, load_model, load_processor
from tests.support.families import FAMILIES, load


@pytest.fixture(params=FAMILIES)
def folder(request, family_folder, tmp_path):
    copy = tmp_path / request.param
    shutil.copytree(family_folder(request.param), copy)
    return copy


def equal(model, state):
    found = model.state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[name], value) for name, value in state.items())


def test_shards(folder):
    model = load_model(folder, device="cpu")
    for file in folder.glob("*.safetensors"):
        file.unlink()
    model.save_pretrained(folder, max_shard_size="200KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert equal(load_model(folder, device="cpu"), model.state_dict())


def test_names_of_the_modules(folder):
    """transformers writes the published names; some tools write those that the modules have today."""
    state = load_model(folder, device="cpu").state_dict()
    distinct = {name: value.clone() for name, value in state.items() if name != "lm_head.weight"}
    save_file(distinct, folder / "model.safetensors", metadata={"format": "pt"})
    assert equal(load_model(folder, device="cpu"), state)


def test_an_output_layer_of_its_own(folder):
    state = {name: value.clone() for name, value in load_model(folder, device="cpu").state_dict().items()}
    head = state["lm_head.weight"] = torch.randn_like(state["lm_head.weight"])
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config))
    model = load_model(folder, device="cpu")
    assert torch.equal(model.get_output_embeddings().weight, head)
    assert not torch.equal(model.get_input_embeddings().weight, head)


PREPROCESSOR, VIDEO = "preprocessor_config.json", "video_preprocessor_config.json"
RELEASED = {
    "qwen2_vl": ((PREPROCESSOR,), "chat_template.json"),
    "qwen2_5_vl": ((PREPROCESSOR,), "chat_template.json"),
    "qwen3_vl": ((PREPROCESSOR, VIDEO), "chat_template.json"),
    "qwen3_5": ((PREPROCESSOR, VIDEO), "chat_template.jinja"),
    "internvl": ((PREPROCESSOR, VIDEO, "processor_config.json"), "chat_template.jinja"),
    "llava_onevision": ((PREPROCESSOR, VIDEO, "processor_config.json"), "chat_template.json"),
    "smolvlm": ((PREPROCESSOR, "processor_config.json"), "chat_template.json"),
}
"""Family -> files of the processor's settings, and of the chat template, as its checkpoints were released."""
FLAT = ("qwen2_vl", "qwen2_5_vl")
"""Families whose released config.json has the language model's settings at the top."""


def test_every_released_layout_reads_alike(folder):
    family = load(backbone_in(folder), folder)
    expected, state = [family.prompt(*shown) for shown in media(family)], family.model.state_dict()
    files, template = RELEASED[folder.name]
    write_settings(folder, files)
    write_template(folder, template)
    if folder.name in FLAT:
        write_flat_config(folder)
    again = load(backbone_in(folder), folder)
    for prompt, shown in zip(expected, media(again), strict=True):
        found = again.prompt(*shown)
        assert torch.equal(found.ids, prompt.ids) and torch.equal(found.pixels, prompt.pixels)
    assert equal(again.model, state)


def media(family):
    return [("video", family.clip()), ("image", family.image(1))]


def write_settings(folder, files):
    """The processor's settings in the files that a release has and no others."""
    whole = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").unlink()
    images, videos = whole.pop("image_processor"), whole.pop("video_processor")
    parts = {PREPROCESSOR: images, VIDEO: videos, "processor_config.json": whole}
    for name in files:
        (folder / name).write_text(json.dumps(parts[name] | {"processor_class": whole["processor_class"]}))


def write_template(folder, name):
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    (folder / name).write_text(template if name.endswith("jinja") else json.dumps({"chat_template": template}))


def write_flat_config(folder):
    """The language model's settings at the top of config.json and rotary settings in their old words."""
    config = json.loads((folder / "config.json").read_text())
    text = config.pop("text_config")
    rotary = text.pop("rope_parameters")
    text |= {
        "rope_theta": rotary["rope_theta"],
        "rope_scaling": {"type": "mrope", "mrope_section": rotary["mrope_section"]},
    }
    (folder / "config.json").write_text(json.dumps({**text, **config}))


def test_processor_settings_in_files_of_their_own(folder):
    """`preprocessor_config.json` and `video_preprocessor_config.json`, as before transformers 5."""
    family = load(backbone_in(folder), folder)
    expected = family.prompt("video", family.clip())
    shape = frame_shape_in(folder)
    whole = json.loads((folder / "processor_config.json").read_text())
    for part, name in (("image_processor", "preprocessor_config"), ("video_processor", "video_preprocessor_config")):
        (folder / f"{name}.json").write_text(json.dumps(whole.pop(part)))
    (folder / "processor_config.json").write_text(json.dumps(whole))
    assert frame_shape_in(folder) == shape
    again = load(backbone_in(folder), folder).prompt("video", family.clip())
    assert torch.equal(again.ids, expected.ids) and torch.equal(again.pixels, expected.pixels)


@pytest.mark.parametrize("place", ["chat_template.json", "tokenizer_config.json"])
def test_a_chat_template_in_any_place(folder, place):
    expected = load(backbone_in(folder), folder).text("image")
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    fields = json.loads((folder / place).read_text()) if (folder / place).exists() else {}
    (folder / place).write_text(json.dumps(fields | {"chat_template": template}))
    assert load(backbone_in(folder), folder).text("image") == expected


def test_all_media_are_asked_about_in_the_checkpoints_own_template(folder, caplog):
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template.replace("assistant", "narrator"))
    family = load(backbone_in(folder), folder)
    for medium in ("video", "image", None):
        text = family.text(medium)
        assert text.startswith("<|im_start|>system") and text.endswith("<|im_start|>narrator\n")
    assert caplog.text == ""


def test_a_template_without_videos_as_released_is_made_up_for(family_folder, tmp_path):
    """SmolVLM2's own template writes images alone."""
    copy = tmp_path / "smolvlm"
    shutil.copytree(family_folder("smolvlm"), copy)
    template = (copy / "chat_template.jinja").read_text()
    (copy / "chat_template.jinja").write_text(template.replace("<video>", ""))
    family = load(backbone_in(copy), copy)
    assert family.text("image").endswith("<|im_start|>assistant\n")
    assert "<video>Which way" in family.text("video") and family.text("video").endswith("Assistant:")


def test_a_folder_without_a_template_is_refused(folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="chat template"):
        load_processor(folder)


def test_an_unknown_model_type_is_one_line_that_lists_the_known(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3"}))
    with pytest.raises(ModelError) as caught:
        backbone_in(tmp_path)
    assert "gemma3" in str(caught.value) and all(name in str(caught.value) for name in FAMILIES)
    assert "\n" not in str(caught.value)


def test_processor_settings_without_a_size_are_one_line(folder):
    family = backbone_in(folder)
    if family.placeholders["video"] == "<|video_pad|>":
        pytest.skip("this family's frames have a default")
    (folder / "processor_config.json").write_text("{}")
    with pytest.raises(ModelError, match="frame size"):
        frame_shape_in(folder)


def test_facts_are_read_without_torch():
    code = (
        "import sys; from tasks.core.backbones import backbones; from tasks.core.models.load import frame_shape_in; "
        "print([b.visual_tokens for b in backbones()]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_modules_are_short(model_type):
    module = sys.modules[type(backbone_of(model_type)).__module__]
    with open(module.__file__) as file:
        assert len(file.readlines()) <= 150
