"""Sources of records by format: one module each, and one line here."""

from collections.abc import Mapping

from tasks.ingest.sources import clevrer, llava, next_qa, table, video_r1, video_r1_cot, webdataset
from tasks.ingest.sources.base import Counted, Read, SourceError, draw_rows

FORMATS: Mapping[str, Read] = {
    "video_r1": video_r1.read,
    "video_r1_cot": video_r1_cot.read,
    "table": table.read,
    "llava": llava.read,
    "next_qa": next_qa.read,
    "clevrer": clevrer.read,
    "webdataset": webdataset.read,
}
"""`format` of an entry of `ingest.sources` -> how it is read; the rendered mini world stands beside them."""

__all__ = ["FORMATS", "Counted", "Read", "SourceError", "draw_rows"]
