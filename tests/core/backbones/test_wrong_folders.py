"""Checkpoint folders that are torn, mixed up or of another model, of every family: one line that says what is wrong.

Every fault is read as a stage reads it: the processor, the frames' size, then the weights.
"""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.core.engine.open import BACKENDS, open_engine
from tasks.core.models.errors import ModelError
from tasks.core.models.load import check_model, frame_shape_in, load_model, load_processor
from tests.support.families import FAMILIES

CONFIG, INDEX, SINGLE = "config.json", "model.safetensors.index.json", "model.safetensors"
PROCESSOR, TEMPLATE = "processor_config.json", "chat_template.jinja"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
UNLIKE = {"internvl": "qwen3_vl"}
"""Family -> another, whose prompts are written otherwise; InternVL for the rest."""
LIKE = {
    **dict.fromkeys(("qwen3_vl", "qwen3_5"), "qwen2_5_vl"),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl"), "qwen3_vl"),
    **dict.fromkeys(("internvl", "smolvlm"), "llava_onevision"),
    "llava_onevision": "internvl",
}
"""Family -> the one that is most like it."""


@pytest.fixture(scope="module")
def sharded(family_folder, tmp_path_factory):
    """`sharded(model_type)`: its folder with weights in several files, made once."""
    made = {}

    def folder(model_type):
        if model_type not in made:
            made[model_type] = tmp_path_factory.mktemp("sharded") / model_type
            shutil.copytree(family_folder(model_type), made[model_type])
            (made[model_type] / SINGLE).unlink()
            load_model(family_folder(model_type), device="cpu").save_pretrained(
                made[model_type], max_shard_size="200KB"
            )
        return made[model_type]

    return folder


@pytest.fixture(params=FAMILIES)
def folder(request, sharded, tmp_path):
    copy = tmp_path / request.param
    shutil.copytree(sharded(request.param), copy)
    return copy


def read(folder):
    """As stages do."""
    load_processor(folder)
    frame_shape_in(folder)
    return load_model(folder, device="cpu")


def check(folder):
    """As an engine does that loads weights by itself."""
    load_processor(folder)
    check_model(folder)


def shards(folder):
    return sorted(folder.glob("*.safetensors"))


def weights(folder):
    return {name: value for path in shards(folder) for name, value in load_file(path).items()}


def write_single(folder, state):
    for path in (*shards(folder), folder / INDEX):
        path.unlink()
    save_file(state, folder / SINGLE, metadata={"format": "pt"})


def renamed(pattern, name):
    return lambda folder: write_single(
        folder, {re.sub(pattern, name, key, count=1): value for key, value in weights(folder).items()}
    )


def changed(file, change):
    """A fault that changes the fields of a JSON file."""

    def damage(folder):
        fields = json.loads((folder / file).read_text())
        change(fields)
        (folder / file).write_text(json.dumps(fields))

    return damage


def cut(folder):
    whole = shards(folder)[1].read_bytes()
    shards(folder)[1].write_bytes(whole[: len(whole) // 2])


def without_one(folder):
    state = weights(folder)
    del state[next(name for name in state if name.endswith("layernorm.weight"))]
    write_single(folder, state)


def without_a_bias(folder):
    """Of the encoder."""
    state = weights(folder)
    del state[next(name for name in state if re.search("visual|vision", name) and name.endswith("bias"))]
    write_single(folder, state)


def without_encoder(folder):
    kept = {n: v for n, v in weights(folder).items() if not re.search("visual|vision|connector|projector|newline", n)}
    write_single(folder, kept)


def with_another(name):
    """A weight more, in the first of the files that the layers are in."""

    def damage(folder):
        state = weights(folder)
        beside = next(key for key in state if ".layers.0.mlp.up_proj" in key)
        write_single(folder, state | {name(beside): state[beside].clone()})

    return damage


def with_another_head(folder):
    state = weights(folder)
    embedding = next(value for name, value in state.items() if "embed_tokens" in name)
    write_single(folder, state | {"lm_head.weight": torch.randn_like(embedding)})


def untied(fields):
    fields["tie_word_embeddings"] = fields["text_config"]["tie_word_embeddings"] = False


def names_absent_file(fields):
    fields["weight_map"][next(iter(fields["weight_map"]))] = "model-00099-of-00099.safetensors"


def exchanged_tokens(fields):
    """The tokens that stand for pictures and for the padding change ids."""
    names = [token["content"] for token in fields["added_tokens"]]
    [shown] = {"<|image_pad|>", "<IMG_CONTEXT>", "<image>"} & set(names)
    first, second = (fields["added_tokens"][names.index(name)] for name in (shown, "<|endoftext|>"))
    first["content"], second["content"] = second["content"], first["content"]


def of(other, *files):
    """A fault that takes files from another family's folder."""

    def damage(folder, sharded):
        for file in files:
            shutil.copy(sharded(other(folder.name)) / file, folder / file)

    return damage


def unlike(family):
    return UNLIKE.get(family, "internvl")


WRONG = {
    "a shard missing": (lambda f: shards(f)[1].unlink(), r"index.json: 1 of \d+ files .* model-00002-of-"),
    "a shard cut off": (cut, "model-00002-of-.*torn"),
    "a shard empty": (lambda f: shards(f)[1].write_bytes(b""), "model-00002-of-.*torn"),
    "a shard a pointer": (
        lambda f: shards(f)[1].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
        "model-00002-of-.*pointer",
    ),
    "the index names an absent file": (changed(INDEX, names_absent_file), "index.json.*model-00099-of-00099"),
    "the index missing": (lambda f: (f / INDEX).unlink(), "no model.safetensors.index.json"),
    "the index cut off": (lambda f: (f / INDEX).write_text('{"weight_map": {'), "index.json: not an index"),
    "the index of no files": (lambda f: (f / INDEX).write_text('{"weight_map": {}}'), "index.json: not an index"),
    "two sets of weights": (lambda f: shutil.copy(shards(f)[0], f / SINGLE), "name different weights"),
    "an adapter": (
        lambda f: [*(path.unlink() for path in (*shards(f), f / INDEX)), (f / "adapter_config.json").write_text("{}")],
        "adapter",
    ),
    "one weight missing": (without_one, r"1 weights are missing, the first is model.*layernorm.weight"),
    "one bias of the encoder missing": (without_a_bias, r"1 weights are missing, the first is model.*bias"),
    "no encoder": (without_encoder, "weights are missing, the first is model"),
    "keys of another layout": (renamed("^", "net."), "weights are missing, .*the files hold net."),
    "keys of a wrapped model": (renamed("^", "module."), "weights are missing, .*the files hold module."),
    "keys of an adapter's base": (
        renamed(r"\.mlp\.up_proj\.", ".mlp.up_proj.base_layer."),
        "weights are missing.*the files hold .*base_layer",
    ),
    "an adapter beside its base": (
        with_another(lambda name: name.replace("up_proj.", "up_proj.lora_A.")),
        "no place .*lora_A",
    ),
    "more layers than configured": (
        with_another(lambda name: name.replace(".layers.0.", ".layers.7.")),
        r"no place .*layers\.7\.",
    ),
    "other widths than configured": (
        changed(CONFIG, lambda fields: fields["text_config"].update(intermediate_size=200)),
        r"other shapes .*\(64, 192\) in the files, \(64, 200\)",
    ),
    "untied, and no output layer": (changed(CONFIG, untied), "lm_head.weight .*tie_word_embeddings: false"),
    "tied, and an output layer of its own": (with_another_head, "tie_word_embeddings: true"),
    "no config": (lambda f: (f / CONFIG).unlink(), "no config.json"),
    "no model_type": (changed(CONFIG, lambda fields: fields.pop("model_type")), "model_type is None; known: .*smolvlm"),
    "another model_type": (changed(CONFIG, lambda fields: fields.update(model_type="gemma3")), "'gemma3'; known: "),
    "a config without sizes": (
        changed(CONFIG, lambda fields: [fields.pop(name) for name in ("text_config", "vision_config")]),
        "config.json: no sizes",
    ),
    "config of a family unlike it": (of(unlike, CONFIG), "is read by|of another family|not the chat template"),
    "config of a family like it": (
        of(LIKE.get, CONFIG),
        "is read by|of another family|weights are missing|shapes|no place",
    ),
    "weights of a family unlike it": (
        lambda f, sharded: [
            *(path.unlink() for path in shards(f)),
            *(shutil.copy(path, f) for path in (*shards(sharded(unlike(f.name))), sharded(unlike(f.name)) / INDEX)),
        ],
        "weights are missing, .*the files hold|other shapes",
    ),
    "processor of a family unlike it": (of(unlike, PROCESSOR), "processor_config.json: of .*Processor; a .* is read"),
    "processor of a family like it": (of(LIKE.get, PROCESSOR), "processor_config.json: of .*Processor; a .* is read"),
    "tokenizer of a family unlike it": (of(unlike, *TOKENIZER), "another family"),
    "template of a family unlike it": (of(unlike, TEMPLATE), "chat_template.jinja: not the chat template of .*place"),
    "no settings of images": (changed(PROCESSOR, lambda fields: fields.pop("image_processor")), "settings of images"),
    "no settings of videos": (changed(PROCESSOR, lambda fields: fields.pop("video_processor")), "settings of videos"),
    "no processor settings": (lambda f: (f / PROCESSOR).unlink(), "preprocessor_config.json"),
    "processor settings cut off": (lambda f: (f / PROCESSOR).write_text("{"), "processor_config.json: not JSON"),
    "no tokenizer": (lambda f: [(f / name).unlink() for name in TOKENIZER], "no tokenizer"),
    "tokenizer cut off": (lambda f: (f / TOKENIZER[0]).write_text("{"), "processor files"),
    "other ids of tokens": (
        changed(TOKENIZER[0], exchanged_tokens),
        r"tokenizer.json: .* is token \d+, in config.json it is \d+",
    ),
    "a vocabulary that ends early": (
        changed(CONFIG, lambda fields: fields["text_config"].update(vocab_size=300)),
        r"tokenizer.json: has token \d+, the model's vocabulary .* ends at 299",
    ),
    "no template": (lambda f: (f / TEMPLATE).unlink(), "no chat template"),
    "a template cut off": (lambda f: (f / TEMPLATE).write_text("{% for m in messages %}{{"), "chat_template.jinja: no"),
    "a template of text alone": (
        lambda f: (f / TEMPLATE).write_text("{% for m in messages %}{{ m.content[-1].text }}{% endfor %}"),
        "chat_template.jinja: not the chat template .*0 image and 0 video",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_folder_is_one_line_that_says_what(folder, sharded, fault, caplog):
    damage, reason = WRONG[fault]
    damage(folder, sharded) if "sharded" in damage.__code__.co_varnames else damage(folder)
    for use in (read, check):
        with pytest.raises(ModelError, match=reason) as caught:
            use(folder)
        assert str(caught.value).startswith(str(folder)) and "\n" not in str(caught.value)
    told = {entry.name for entry in caplog.records}
    assert told <= {"transformers.configuration_utils"}, "a warning of ids that config.json itself has out of range"


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_engine_starts_without_a_weight(folder, backend):
    """vLLM itself would, without one of the encoder's."""
    without_a_bias(folder)
    with pytest.raises(ModelError, match="1 weights are missing"):
        open_engine(backend, folder)


def leaves_out_a_weight(fields):
    del fields["weight_map"][next(name for name in fields["weight_map"] if ".mlp." in name)]


def misplaces_a_weight(fields):
    places = fields["weight_map"]
    name = next(name for name, file in places.items() if file != max(places.values()))
    places[name] = max(places.values())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(leaves_out_a_weight, id="the index leaves out a weight"),
        pytest.param(misplaces_a_weight, id="the index misplaces a weight"),
    ],
)
def test_every_weight_of_the_named_files_is_read(folder, sharded, change, caplog):
    changed(INDEX, change)(folder)
    expected = read(sharded(folder.name)).state_dict()
    for name, value in read(folder).state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert caplog.text == ""


def with_its_head(folder):
    state = weights(folder)
    embedding = next(value for name, value in state.items() if "embed_tokens" in name)
    write_single(folder, state | {"lm_head.weight": embedding.clone()})


def test_a_tied_output_layer_may_be_written_out(folder):
    with_its_head(folder)
    check(folder)
    model = read(folder)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_weights_of_no_use_are_told(folder, capsys):
    with_another(lambda name: "value_head.weight")(folder)
    read(folder)
    assert "1 weights are of no use to the model, the first is value_head.weight" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "field", "reason"),
    [("image_processor", "size", "frames of"), ("video_processor", "patch_size", "patch_size 7")],
    ids=["frames of another size", "patches of another size"],
)
def test_sizes_of_another_release_are_refused(folder, part, field, reason):
    fields = json.loads((folder / PROCESSOR).read_text())
    if field not in fields[part] or (field == "patch_size") != folder.name.startswith("qwen"):
        pytest.skip("this family's sizes are told otherwise")
    if field == "size":
        for name in ("size", "max_image_size"):
            fields[part][name] = {side: 28 for side in fields[part].get(name, {})}
    else:
        fields[part][field] = 7
    (folder / PROCESSOR).write_text(json.dumps(fields))
    with pytest.raises(ModelError, match=f"of different models: {reason}"):
        load_processor(folder)
