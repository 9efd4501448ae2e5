"""Other views of a clip, by name: what an objective compares the ordered view with. `grpo/data.py` makes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Perturbation(BaseModel):
    """One way to show a clip other than it is."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
    kind: str


class Shuffle(Perturbation):
    """Frames in an order drawn anew for each step; never the true one."""

    kind: Literal["shuffle"] = "shuffle"
    unit: Literal["frame", "temporal_patch"] = "frame"
    """`temporal_patch` keeps the two frames of a patch together, so that vision features are permuted and not encoded
    again."""


class Reverse(Perturbation):
    """Frames from the last to the first."""

    kind: Literal["reverse"] = "reverse"


class Freeze(Perturbation):
    """The middle frame for as long as the clip lasts."""

    kind: Literal["freeze"] = "freeze"


class OneFrame(Perturbation):
    """The middle frame alone, as one temporal patch."""

    kind: Literal["one_frame"] = "one_frame"


class Mirror(Perturbation):
    """Every frame with left and right exchanged."""

    kind: Literal["mirror"] = "mirror"


AnyPerturbation = Annotated[Shuffle | Reverse | Freeze | OneFrame | Mirror, Field(discriminator="kind")]
"""What a field `perturbation` may be. A further one is a class, a line here, and a line in
`data.frame_order` if it is an order of the frames, else in `core/video/perturb.py`."""
