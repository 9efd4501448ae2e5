"""The mini world: rendered clips and images whose questions are answered by looking, some of them only by looking in order."""

from tasks.core.world.split import make_split

__all__ = ["make_split"]
