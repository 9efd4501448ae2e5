"""Counts what goes through vision encoders in a test."""

from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel as Encoder


def count_patches(monkeypatch):
    """A list that gets the temporal patches of every pass through any model's encoder from now on."""
    original, seen = Encoder.forward, []

    def counted(self, hidden_states, grid_thw, **options):
        seen.append(int(grid_thw[:, 0].sum()))
        return original(self, hidden_states, grid_thw, **options)

    monkeypatch.setattr(Encoder, "forward", counted)
    return seen
