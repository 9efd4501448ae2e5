"""docs/backbones.md says what the adapters say, and the run stops where a family is not served."""

import pytest

from tasks.core.backbones import backbone_of, backbones
from tasks.core.engine.open import open_engine
from tasks.core.models.load import load_processor
from tasks.grpo.settings import rollouts
from tests.support import backbone_page
from tests.support.families import FAMILIES, missing
from tests.support.grpo_stage import settings


@pytest.mark.skipif(any(missing(name) for name in FAMILIES), reason="a family cannot be made here")
def test_the_page_is_fresh():
    text = backbone_page.PAGE.read_text()
    assert backbone_page.page(text) == text, "run `python -m tests.support.backbone_page`"


def test_every_family_says_what_it_cannot_do_in_a_clause():
    reasons = [backbone.serves_video for backbone in backbones() if backbone.serves_video is not None]
    assert reasons and all(not reason.endswith(".") and "\n" not in reason for reason in reasons)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_videos_that_vllm_does_not_serve_go_to_transformers(model_type, family_folder, monkeypatch, capsys):
    opened = []
    for module, name in (("vllm", "VllmEngine"), ("transformers", "TransformersEngine")):
        monkeypatch.setattr(
            f"tasks.core.engine.{module}.{name}", lambda *_, kind=module, **__: opened.append(kind) or None
        )
    open_engine("vllm", family_folder(model_type))
    reason = backbone_of(model_type).serves_video
    assert opened == ["vllm" if reason is None else "transformers"]
    assert capsys.readouterr().err.count(reason or "in place of") == int(reason is not None)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_rollouts_that_vllm_does_not_serve_are_transformers(model_type, family_folder, monkeypatch, capsys):
    """By the checkpoint's family: its processor may be that of another one."""
    monkeypatch.setattr("tasks.grpo.vllm_rollouts.VllmRollouts", lambda *_, **__: "vllm")
    folder = family_folder(model_type)
    made = rollouts(load_processor(folder), [], folder=str(folder), settings=settings(rollout_engine="vllm"), rows=1)
    reason = backbone_of(model_type).serves_video
    assert (made == "vllm") == (reason is None)
    assert capsys.readouterr().out.count(reason or "in place of") == int(reason is not None)
