"""Put one question to a model: `python -m tasks.ask CLIP "What moves?" --options left right`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tasks import params, paths
from tasks.core.engine.open import open_engine
from tasks.core.engine.questions import build_request
from tasks.core.engine.types import EngineError
from tasks.core.io.cli import OneLineParser, run_stage
from tasks.core.io.given import whole_number
from tasks.core.models.load import check_folder, frame_shape_in, is_endpoint
from tasks.core.schemas.records import PROBLEM_TYPES, Record
from tasks.core.text import answer_of, think_of
from tasks.core.text.options import lettered
from tasks.core.video import data_type_of, open_clip


def main() -> int:
    """Ask, print reasoning and answer."""
    arguments = parse_arguments()
    config = params.load()
    if not is_endpoint(arguments.model):
        check_folder(arguments.model)
    record = question(arguments.clip, arguments.question, arguments.options, arguments.type)
    opening = config.video.opening() | frame_shape_in(arguments.model)._asdict()
    clip = open_clip(record.path, record.data_type, **opening)
    alone = {"batch_size": 1, "data_parallel": 1, "data_parallel_backend": "mp"}
    settings = config.engine.model_dump() | {"backend": arguments.engine, **alone}
    with open_engine(model_path=arguments.model, **settings) as engine:
        request = build_request(engine, record, clip, key="ask", **config.prompt.model_dump(), seed=config.seed)
        [[completion]] = engine.generate([request], temperature=0.0, top_p=1.0, max_tokens=arguments.max_tokens)
    if completion.finish_reason == "error":
        raise EngineError(completion.error)
    print(shown(completion.text))
    if completion.finish_reason == "length":
        print(f"(cut off after {len(completion.token_ids)} tokens; --max-tokens allows more)")
    return 0


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = OneLineParser(prog="python -m tasks.ask", description=__doc__)
    parser.add_argument("clip", help="video or image file")
    parser.add_argument("question")
    parser.add_argument("--model", type=Path, default=paths.GRPO_MODEL, help="checkpoint folder or endpoint file")
    parser.add_argument("--options", nargs="+", default=[], metavar="OPTION", help="lettered if they are not yet")
    parser.add_argument("--type", choices=PROBLEM_TYPES, help="multiple choice with options, else free-form")
    parser.add_argument("--engine", choices=["transformers", "vllm"], default="transformers")
    parser.add_argument("--max-tokens", type=whole_number(), default=512)
    return parser.parse_args()


def question(path: str, text: str, options: list[str], problem_type: str | None) -> Record:
    """A record without a solution, as prompts need it."""
    return Record(
        problem_id=0,
        problem=text,
        data_type=data_type_of(path),
        problem_type=problem_type or ("multiple choice" if options else "free-form"),
        options=lettered(options),
        process="",
        solution="",
        path=path,
    )


def shown(text: str) -> str:
    """Reasoning and answer under headings; the raw text of an answer without tags."""
    reasoning, answer = think_of(text), answer_of(text)
    if reasoning is None and answer is None:
        return f"{text.strip()}\n(no think or answer tags in this answer)"
    return f"reasoning: {reasoning or '-'}\nanswer: {answer or '-'}"


if __name__ == "__main__":
    run_stage(main, params.ParamsError)
