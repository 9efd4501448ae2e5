"""Two tiny models for the whole graph at its smallest: `python -m measure.smallest.models FOLDER`.

`FOLDER/base` is random. `FOLDER/teacher` is the same network taught to give one well-formed answer to everything: some
questions have just that answer, so the filter keeps some rows and rejects the others.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch

from tasks.core.backbones import backbone_of
from tasks.core.io.cli import OneLineParser, run_tool
from tasks.core.models.inputs import encode, prompt_text
from tasks.core.models.load import save_model
from tasks.core.prompts.build import messages
from tasks.core.schemas.parsing import parse_record
from tasks.core.video.clip import Clip
from tasks.core.world.model import build_model, build_processor
from tasks.core.world.split import make_split

ANSWER = "<think>I look at all of it and take the second.</think>\n<answer>B</answer>"
STEPS = 120
ROWS = 8
SYSTEM = "You are a helpful assistant."


def noise(kind: str, rng: np.random.Generator, side: int) -> Clip:
    """A medium that tells nothing."""
    frames, fps = (4, 2.0) if kind == "video" else (1, 0.0)
    pixels = rng.integers(0, 256, (frames, side, side, 3), dtype=np.uint8)
    return Clip(pixels, list(range(frames)), fps, fps, frames / fps if fps else 0.0)


def main(folder: Path, model_type: str = "qwen2_5_vl", steps: int = STEPS) -> int:
    """Make both; returns the side of the frames that they take, pixels."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as media:
        raw = make_split(Path(media), rows=24, seed=99)
    records = [parse_record(row, f"row {number}") for number, row in enumerate(raw)]
    chats = [messages(record, template="brief", system=SYSTEM) for record in records]
    corpus = ["\n".join(part["text"] for turn in chat for part in turn["content"] if "text" in part) for chat in chats]
    processor = build_processor(model_type, [*corpus, ANSWER] * 2, vocabulary=400)
    shape = backbone_of(model_type).frame_shape(processor.image_processor.to_dict())
    side = shape.fixed_side or 2 * shape.side_factor
    model = build_model(processor, architecture=model_type, hidden_size=64, layers=2, heads=2, vision_layers=1, seed=0)
    save_model(model, processor, folder / "base")

    end = processor.tokenizer.eos_token
    length = len(processor.tokenizer(ANSWER + end)["input_ids"])
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        drawn = [int(number) for number in rng.integers(0, len(records), ROWS)]
        kinds = [records[number].data_type for number in drawn]
        texts = [prompt_text(processor, chats[number]) + ANSWER + end for number in drawn]
        clips = [noise(kind, rng, side) for kind in kinds]
        batch = encode(processor, texts, clips, kinds)  # padded left: answers line up
        logits = model(**batch).logits[:, -length - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch["input_ids"][:, -length:])
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    save_model(model, processor, folder / "teacher")
    print(f"models of the smallest graph: teacher loss {loss.item():.4f} -> {folder}")
    return side


def command() -> None:
    """Make them where the command line says."""
    parser = OneLineParser(prog="python -m measure.smallest.models", description="Make two tiny models.")
    parser.add_argument("folder", type=Path, help="gets a model `base` and a model `teacher`")
    main(parser.parse_args().folder)


if __name__ == "__main__":
    run_tool(command)
