"""What vLLM's workers are given beside their own methods, by the name of a class (`worker_extension_cls`)."""

from __future__ import annotations

from functools import wraps
from typing import Any


class FlatFeatures:
    """Gives features of every medium as rows; vLLM 0.32 leaves a dimension before those of unequal videos, and fails.

    LLaVA-OneVision's `_process_video_pixels` makes (1, n, width) of each video of a list, and (n, width) of a stack.
    """

    model_runner: Any

    def mend(self) -> None:
        """Called in every worker as it has loaded the model."""
        model = self.model_runner.get_model()
        embed = model.embed_multimodal

        @wraps(embed)
        def flat(**inputs: Any) -> Any:
            return tuple(features.flatten(0, -2) for features in embed(**inputs))

        model.embed_multimodal = flat
