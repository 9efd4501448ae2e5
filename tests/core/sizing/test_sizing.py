"""Sizes by arithmetic against models that are built, and against what a GPU measured."""

import csv

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from tasks.core.models.load import load_model
from tasks.core.sizing.memory import (
    Pass,
    Training,
    activation_parts,
    adapter_parameters,
    checkpoint_bytes,
    host_parts,
    state_parts,
    total,
)
from tasks.core.sizing.shapes import PUBLISHED, SHAPES, counted, model_in, shape_of
from tests.support.graph import ROOT

BASE = ROOT / "models/world/base"


def built(name):
    """A released model without memory, from the widths that are kept."""
    shape = PUBLISHED[name].shape
    family = "qwen3_vl" if name.startswith("qwen3") else "qwen2_5_vl"
    text = {
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_heads,
        "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
    }
    vision = {
        "depth": shape.vision_layers,
        "hidden_size": shape.vision_hidden,
        "num_heads": shape.vision_heads,
        "intermediate_size": shape.vision_intermediate,
        "out_hidden_size": shape.hidden,
    }
    if family == "qwen3_vl":
        text["head_dim"], vision["deepstack_visual_indexes"] = shape.head_size, [8, 16, 24]
    config = AutoConfig.for_model(family, text_config=text, vision_config=vision, tie_word_embeddings=shape.tied)
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config), config


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.startswith("qwen")])
def test_parameters_of_released_models_are_those_of_their_widths(name):
    model, config = built(name)
    known = PUBLISHED[name]
    assert known.parameters == sum(value.numel() for value in model.parameters())
    assert known.vision == sum(value.numel() for value in model.model.visual.parameters())
    assert known.embedding == model.get_input_embeddings().weight.numel()
    assert known.head in (0, model.get_output_embeddings().weight.numel()) and (known.head == 0) == known.shape.tied
    assert shape_of(config.to_dict())._replace(head_size=None) == known.shape._replace(head_size=None)


def test_a_checkpoint_is_counted_from_its_headers():
    model = load_model(BASE, device="cpu")
    known = model_in(BASE)
    assert known is not None and known.parameters == sum(value.numel() for value in model.parameters())
    assert known.vision == sum(value.numel() for value in model.model.visual.parameters())
    assert (known.shape.hidden, known.shape.tied, known.side, known.head) == (128, True, 28, 0)


@pytest.mark.parametrize(
    ("files", "parameters"),
    [
        pytest.param({}, 8_292_166_656, id="a released name, not fetched"),
        pytest.param({"config.json": "{"}, 8_292_166_656, id="its configuration torn"),
        pytest.param({"config.json": "{}", "model.safetensors": "x"}, 8_292_166_656, id="its weights torn"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_known_by_its_name(tmp_path, files, parameters):
    folder = tmp_path / "Qwen2.5-VL-7B-Instruct"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    known = model_in(folder)
    assert known is not None and known.parameters == parameters
    assert model_in(tmp_path / "unheard-of") is None


def test_a_file_that_is_no_checkpoint_is_not_read_whole(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"\xff" * 8)
    with pytest.raises(ValueError, match="no safetensors file"):
        counted(tmp_path)


@pytest.mark.parametrize("name", ["3b", "7b"])
@pytest.mark.parametrize(("path", "kind"), [("varlen attention", "none"), ("all levers", "selective")])
def test_activations_come_within_an_eighth_of_what_a_gpu_took(name, path, kind):
    with (ROOT / f"reports/perf/gpu-{name}.csv").open() as file:
        [row] = [row for row in csv.DictReader(file) if row["path"] == path]
    load = Pass(int(row["LM tokens"]), int(row["video tokens"]), int(row["G"]) * 400)
    parts = activation_parts(SHAPES[name], load, Training(1, False, 0, checkpointing=kind))
    assert sum(part.size_bytes for part in parts) / 2**20 == pytest.approx(float(row["peak MiB"]), rel=0.125)


@pytest.mark.parametrize("with_vision", [False, True])
def test_an_adapter_has_as_many_parameters_as_peft_makes(with_vision):
    from peft import get_peft_model

    from tasks.grpo.train import adapter
    from tasks.params import Lora

    model = load_model(BASE, device="cpu")
    made = get_peft_model(model, adapter(Lora(rank=4), model, with_vision))
    shape = shape_of(model.config.to_dict())
    expected = sum(value.numel() for value in made.parameters() if value.requires_grad)
    assert adapter_parameters(shape, 4, with_vision=with_vision) == expected


def test_sharding_divides_what_stays():
    """16 bytes a parameter: 123.6 GiB of the 7B model on one GPU, 30.9 on four."""
    model = PUBLISHED["qwen2.5-vl-7b-instruct"]
    one, four = (
        state_parts(model, Training(count, True, model.parameters, has_reference=True))[:2] for count in (1, 4)
    )
    assert [round(part.size_bytes / 2**30, 1) for part in [*one, *four]] == [123.6, 15.4, 30.9, 3.9]


@pytest.mark.parametrize(
    ("is_sharded", "is_half", "expected_bytes"),
    [
        pytest.param(True, True, 2, id="kept as it is gathered"),
        pytest.param(True, False, 4, id="gathered in float32"),
        pytest.param(False, True, 4, id="whole, under autocast"),
    ],
)
def test_a_reference_model_takes_what_it_is_kept_in(is_sharded, is_half, expected_bytes):
    model = PUBLISHED["qwen2.5-vl-7b-instruct"]
    how = Training(1, is_sharded, model.parameters, has_reference=True, is_half=is_half)
    reference = next(part for part in state_parts(model, how) if part.name == "reference model")
    assert reference.size_bytes == expected_bytes * model.parameters
    loading, without = (
        host_parts(model, each, caches_gib=0)[0].size_bytes for each in (how, how._replace(has_reference=False))
    )
    built = (4 + expected_bytes) * model.parameters
    assert loading == max(built, without) >= 4 * model.parameters


@pytest.mark.parametrize(
    ("parameters", "adapter", "taken_gib"),
    [
        pytest.param(8.292e9, 2e8, 18.5, id="GRPO of an adapter"),
        pytest.param(1.905e9, 0, 12.8, id="SFT of all weights"),
    ],
)
def test_main_memory_comes_within_a_sixth_of_what_a_stage_took_beside_a_gpu(parameters, adapter, taken_gib):
    """Figures: reports/perf/rehearsal-gpu.md; neither stage kept frames or features to speak of."""
    model = PUBLISHED["qwen2.5-vl-7b-instruct"]._replace(text=int(parameters), embedding=0, head=0, vision=0)
    how = Training(1, False, 0 if adapter else int(parameters), adapter=int(adapter))
    assert total(host_parts(model, how, caches_gib=0), gpu=False) / 2**30 == pytest.approx(taken_gib, rel=1 / 6)


def test_an_adapter_s_checkpoint_is_its_own_alone():
    model = PUBLISHED["qwen2.5-vl-7b-instruct"]
    assert checkpoint_bytes(model, Training(1, False, 0, adapter=10)) == 120
    assert checkpoint_bytes(model, Training(1, False, model.parameters)) == 12 * model.parameters
