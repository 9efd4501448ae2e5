"""A tiny model and what it needs to be fine-tuned in a test."""

from tasks.core.models.load import load_model, load_processor
from tasks.core.schemas.records import Record
from tasks.core.train.clips import ClipStore
from tasks.core.video import VideoError
from tasks.params import Sft
from tasks.sft.data import Collator, examples, row_packer
from tasks.sft.train import train

SETTINGS = Sft(epochs=2, learning_rate=3e-3, batch_size=3, save_steps=3)


def record(number, data_type="video", path=None):
    return Record(
        problem_id=number,
        problem="Which way does the red ball move?",
        data_type=data_type,
        problem_type="multiple choice",
        options=["A. left", "B. right"],
        process=f"<think>{'The red ball ends right. ' * (1 + number % 3)}</think>",
        solution="<answer>B</answer>",
        path=path or f"clip {number}",
    )


RECORDS = [record(0), record(1, "image"), record(2), record(3), record(4, "image"), record(5), record(6)]


class Stage:
    """A collator and what it needs; `rows` are RECORDS unless given."""

    def __init__(self, folder, make_clip, records=RECORDS, stop_after=None, workers=0, packed=False, media=False):
        self.processor = load_processor(folder)
        self.model = load_model(folder, "float32", "cpu")
        self.rows = examples(records, self.processor, template="brief", system="You are a helpful assistant.")
        self.skipped: list[tuple[str, str]] = []
        self.batches = 0
        self.drawn: list[int] = []
        self._stop_after = stop_after

        def read(path, data_type):
            if path == "broken":
                raise VideoError(path, "torn")
            seed = sum(path.encode())
            return make_clip(frames=1, fps=0, seed=seed) if data_type == "image" else make_clip(frames=4, seed=seed)

        self._collate = Collator(
            self.rows,
            self.processor,
            ClipStore(read, 1e-9, workers),
            lambda row, reason: self.skipped.append((row.path, reason)),
            row_packer(self.model, packed),
            media,
        )

    def __call__(self, batch):
        self.batches += 1
        self.drawn += [item["index"] for item in batch]
        if self._stop_after is not None and self.batches > self._stop_after:
            raise KeyboardInterrupt
        return self._collate(batch)

    def expect(self, rows):
        self._collate.expect(rows)

    def train(self, work, settings=SETTINGS):
        place = {"work": work, "curve": work / "curve.csv"}
        return train(self.model, self.processor, self.rows, self, settings=settings, seed=5, **place)  # type: ignore[arg-type]
