"""Requests that exercise every path of an engine, bad ones among them."""

import json
import shutil

import pytest

from tasks.core.engine.types import Request


@pytest.fixture(scope="session")
def make_requests(make_clip, chat):
    """`make_requests(engine)`: eight good requests of mixed media and lengths, then three bad ones."""

    def make(engine):
        good = [
            ("video", make_clip(16, 1.5, 1), "What moves?"),
            ("video", make_clip(4, 3.7, 2), "Which way does the red ball move? A. left B. right"),
            ("image", make_clip(1, 0, 3), "How many?"),
            (None, None, "Which way?"),
            ("video", make_clip(16, 2.0, 4), "Which way does it move, " * 5),
            ("video", make_clip(7, 0.3, 5), "odd and slow"),
            ("image", make_clip(1, 0, 6, side=84), "a larger picture"),
            ("video", make_clip(16, 1.5, 7), "What moves?"),
        ]
        requests = [
            Request(f"good {i}", engine.render(chat(medium, text)), clip, medium or "video", 100 + i)
            for i, (medium, clip, text) in enumerate(good)
        ]
        return [
            *requests,
            Request("too long", engine.render(chat(None, "what " * 600)), None, "video", 0),
            Request("no clip", engine.render(chat("video", "what?")), None, "video", 0),
            Request("no placeholder", engine.render(chat(None, "what?")), make_clip(4), "video", 0),
        ]

    return make


@pytest.fixture(scope="session")
def penalised(tiny_model, tmp_path_factory):
    """The tiny checkpoint with sampling settings that would change every completion."""
    folder = tmp_path_factory.mktemp("models") / "penalised"
    shutil.copytree(tiny_model, folder)
    path = folder / "generation_config.json"
    path.write_text(
        json.dumps(
            json.loads(path.read_text())
            | {"repetition_penalty": 50.0, "top_k": 1, "temperature": 0.1, "no_repeat_ngram_size": 1, "do_sample": True}
            | {"bad_words_ids": [[5], [6], [7], [8]], "min_new_tokens": 9}
        )
    )
    return folder
