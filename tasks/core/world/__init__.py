"""The mini world: rendered clips and images, with questions that looking answers, some only looking in order."""

from tasks.core.world.split import make_split

__all__ = ["make_split"]
