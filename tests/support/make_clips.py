"""Draws the clips and TempCompass-like records under tests/fixtures: `python -m tests.support.make_clips`.

The files are kept in git, for tests name their frame counts and byte positions; everything in them is drawn here. The
picture is a textured ground that drifts under figures with soft edges, so that the encoder uses B-frames and the frames
differ everywhere, as filmed ones do.
"""

import json
import math
from pathlib import Path

import av
import numpy as np
from PIL import Image

FIXTURES = Path(__file__).parents[1] / "fixtures"


def ground(width: int, height: int, shift: float, seed: int) -> np.ndarray:
    """A smooth texture, (height, width, 3) in 0..255, that has moved `shift` pixels to the right."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    picture = np.full((height, width, 3), 110.0)
    for _ in range(12):
        across, down = draw.uniform(-0.15, 0.15, 2)
        picture += draw.uniform(4, 14, 3) * np.sin(across * (x - shift) + down * y + draw.uniform(0, 6))[..., None]
    return picture


def disc(picture: np.ndarray, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    """Lay a disc with an edge two pixels wide over the picture, in place."""
    down, across = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    cover = np.clip((radius - np.hypot(across - x, down - y)) / 2 + 0.5, 0, 1)[..., None]
    picture[:] = picture * (1 - cover) + np.array(colour, float) * cover


def to_pixels(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture.round(), 0, 255).astype(np.uint8)


def slide(width: int, height: int, frames: int) -> list[np.ndarray]:
    """A red disc slides from left to right; the ground drifts."""
    pictures = []
    for number in range(frames):
        picture = ground(width, height, number / 2, seed=1)
        disc(picture, width * (0.15 + 0.7 * number / frames), height / 2, height / 7, (210, 40, 40))
        pictures.append(to_pixels(picture))
    return pictures


def turn(width: int, height: int, frames: int) -> list[np.ndarray]:
    """A blue disc goes round a yellow one twice."""
    pictures = []
    for number in range(frames):
        picture = ground(width, height, 0, seed=2)
        angle = 4 * math.pi * number / frames
        disc(picture, width / 2, height / 2, height / 8, (230, 200, 40))
        disc(
            picture,
            width / 2 + height / 3 * math.cos(angle),
            height / 2 + height / 3 * math.sin(angle),
            7,
            (40, 60, 220),
        )
        pictures.append(to_pixels(picture))
    return pictures


def lift(width: int, height: int, frames: int) -> list[np.ndarray]:
    """A grey hand lifts a green ball from the floor."""
    pictures = []
    for number in range(frames):
        picture = np.full((height, width, 3), 235.0)
        picture[int(height * 0.85) :] = (150, 120, 90)
        raised = max(0.0, (number / (frames - 1) - 0.3) / 0.7)
        y = height * (0.75 - 0.5 * raised)
        disc(picture, width / 2, y, height / 9, (40, 160, 60))
        disc(
            picture,
            width / 2,
            min(y - height / 9, height * (0.1 + 1.8 * number / frames)),
            height / 12,
            (120, 120, 130),
        )
        pictures.append(to_pixels(picture))
    return pictures


def write_mp4(path: Path, pictures: list[np.ndarray], rate: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "30", "threads": "1"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode())


def write_gif(path: Path, pictures: list[np.ndarray], milliseconds: int, colours: int) -> None:
    plain = [Image.fromarray(picture) for picture in pictures]
    palette = plain[0].quantize(colours)
    first, *rest = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in plain]
    first.save(path, save_all=True, append_images=rest, duration=milliseconds, loop=0)


WAYS = ("lifted", "dropped", "pushed aside", "turned round")
YES_NO = ("Is the ball {}?", "Does the clip show that the ball is {}?", "Would you say that the ball is {}?")
CHOICE = (
    "What happens to the ball?",
    "What is done to the ball in this clip?",
    "Which of these does the clip show?",
)
PAIRS = ("Sentence A", "Sentence B"), ("Option 1", "Option 2"), ("Caption A", "Caption B")
CAPTION = (
    "One of the following is true of the clip. Write a caption that agrees with it.",
    "Write a short caption of the clip that agrees with the one true statement below.",
    "Choose the statement that the clip bears out and write a caption from it.",
    "Only one statement below fits the clip. Give a caption that keeps to it.",
)


def questions(shown: str) -> dict[str, list[dict[str, str]]]:
    """Question and answer pairs of the four tasks for a clip in which the ball is `shown`."""
    wrong = [way for way in WAYS if way != shown]
    options = [f"{letter}. The ball is {way}" for letter, way in zip("ABCD", WAYS, strict=True)]
    right = options[WAYS.index(shown)]
    yes_no = [{"question": each.format(shown), "answer": "yes"} for each in YES_NO]
    yes_no += [{"question": YES_NO[0].format(way), "answer": "no"} for way in wrong]
    choice = [{"question": "\n".join([each, *options]), "answer": right} for each in CHOICE]
    matching = []
    for number, names in enumerate(PAIRS):
        ways = (shown, wrong[number]) if number % 2 else (wrong[number], shown)
        lines = [f"{name}: The ball is {way}." for name, way in zip(names, ways, strict=True)]
        matching.append({"question": "\n".join(["Which fits the clip?", *lines]), "answer": lines[ways.index(shown)]})
    stated = [f"Information {each}" for each in (option.replace(". ", ": ", 1) for option in options)]
    captioning = [{"question": "\n".join([each, *stated, "Caption:"]), "answer": right} for each in CAPTION]
    return {"yes_no": yes_no, "multi-choice": choice, "caption_matching": matching, "captioning": captioning}


def write_tempcompass(folder: Path) -> None:
    """Two clips, one the other backwards, and their questions in TempCompass's files."""
    (folder / "questions").mkdir(parents=True, exist_ok=True)
    pictures = lift(304, 168, 24)
    shown = {"2000000001": "lifted", "2000000001_reverse": "dropped"}
    write_gif(folder / "2000000001.gif", pictures, 320, colours=24)
    write_gif(folder / "2000000001_reverse.gif", pictures[::-1], 320, colours=24)
    about = {}
    for name, way in shown.items():
        direction = {"subject": "ball", "direction": way, "type": "object motion"}
        others = dict.fromkeys(("action", "speed", "order", "attribute_change"))
        about[name] = {"eval_dim": {**others, "direction": direction}, "content": ["object"]}
    (folder / "meta_info.json").write_text(json.dumps(about, indent=1) + "\n")
    for task in ("yes_no", "multi-choice", "caption_matching", "captioning"):
        rows = {name: {"direction": questions(way)[task]} for name, way in shown.items()}
        (folder / "questions" / f"{task}.json").write_text(json.dumps(rows, indent=1) + "\n")


def main() -> None:
    clips = FIXTURES / "clips"
    write_mp4(clips / "slide.mp4", slide(188, 128, 90), 30)
    write_mp4(clips / "turn.mp4", turn(188, 106, 120), 30)
    write_gif(clips / "scene.gif", slide(106, 60, 22), 240, colours=64)
    write_tempcompass(FIXTURES / "tempcompass")


if __name__ == "__main__":
    main()
