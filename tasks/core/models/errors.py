"""What goes wrong with checkpoint folders."""

from tasks.core.io.errors import StageError


class ModelError(StageError):
    """A model folder is missing, incomplete or does not fit together; the text is one line naming the folder."""
