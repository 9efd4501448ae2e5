"""Tables of other stages that may not be there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.core.io.tables import read_table


def rows_of(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Rows of a table; none where there is no file."""
    return read_table(path, schema) if path.exists() else []
