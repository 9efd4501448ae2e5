"""The tables of docs/backbones.md: `python -m tests.support.backbone_page` writes them anew.

Every cell is a fact that an adapter states; the contract tests (tests/core/backbones) hold each fact.
"""

import sys
from pathlib import Path

from tasks.core.backbones import Backbone, backbones
from tests.support.families import CORPUS

PAGE = Path(__file__).parents[2] / "docs/backbones.md"
START, END = "<!-- tables: made by tests.support.backbone_page -->", "<!-- end of tables -->"
YES = "yes"


def tiny(backbone: Backbone):
    """A model to ask; no processor of the family is needed, only its tokenizer."""
    processor = backbone.tiny_processor(CORPUS, 420)
    sizes = {"hidden_size": 64, "layers": 2, "heads": 2, "vision_layers": 1}
    return backbone.tiny_model(processor, **sizes, seed=0)


def facts(backbone: Backbone) -> dict[str, str]:
    """What a family reads and how."""
    return {
        "model_type": ", ".join(f"`{name}`" for name in backbone.model_types),
        "positions": "time, height, width" if backbone.places_by_kind else "one-dimensional",
        "frames in a patch": str(backbone.frames_per_patch),
        "frame sizes": "any, within the budget" if backbone.places_by_kind else "one square",
    }


def levers(backbone: Backbone, model: object) -> dict[str, str]:
    """What of the pipeline holds for a family, with the reason where it does not."""
    reason = backbone.unpackable(model)
    packs = YES if reason is None else "no (1)"
    served = YES if backbone.serves_video is None else "no (2)"
    return {
        "backbone": f"`{backbone.model_types[0]}`",
        "tokens counted before encoding": YES,
        "features computed once": YES,
        "shuffles permute features": YES,
        "prompt read once in rollouts": YES if reason is None else "yes, states copied",
        "packed update, padding-free SFT": packs,
        "selective checkpointing": _recomputed(backbone),
        "adapters (LoRA)": YES,
        "vLLM takes its videos": served,
    }


def _recomputed(backbone: Backbone) -> str:
    parts = {"text": backbone.names.text_block, "encoder": backbone.names.vision_block}
    return " and ".join(name for name, block in parts.items() if block is not None) or "none"


def sentence(reasons: list[str | None]) -> str:
    """The one reason among them, as a sentence."""
    [reason] = {reason for reason in reasons if reason is not None}
    return f"{reason[0].upper()}{reason[1:]}."


def table(rows: list[dict[str, str]]) -> str:
    """Markdown."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([row[name] for name in head] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def tables() -> str:
    """Both tables and their notes."""
    models = {backbone.model_types[0]: tiny(backbone) for backbone in backbones()}
    reasons = [b.unpackable(models[b.model_types[0]]) for b in backbones()]
    unserved = "; ".join(f"`{b.model_types[0]}`: {b.serves_video}" for b in backbones() if b.serves_video is not None)
    return "\n\n".join(
        [
            table([facts(backbone) for backbone in backbones()]),
            table([levers(backbone, models[backbone.model_types[0]]) for backbone in backbones()]),
            f"(1) {sentence(reasons)} Rows are then read one by one, and the run says so once.",
            f"(2) {unserved}. Where vllm is asked for, transformers answers, and the run says so once.",
        ]
    )


def page(text: str) -> str:
    """The page with its tables made anew."""
    before, rest = text.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
    sys.stdout.write(f"{PAGE}\n")
