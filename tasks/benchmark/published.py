"""Published numbers, shown beside ours: the table of Video-R1's README, and each benchmark's own leaderboard."""

from __future__ import annotations

from tasks.benchmark.base import Published

SUITES = ("vsi_bench", "video_mmmu", "mmvu", "mvbench", "tempcompass", "video_mme")
"""Columns of `VIDEO_R1`."""
VIDEO_R1: dict[tuple[str, int], tuple[float, ...]] = {
    ("Qwen2.5-VL-7B CoT", 16): (27.7, 47.8, 59.2, 57.4, 72.2, 53.1),
    ("Qwen2.5-VL-7B CoT", 32): (30.1, 48.1, 60.0, 59.0, 72.6, 56.6),
    ("Qwen2.5-VL-7B SFT", 16): (31.8, 47.4, 61.3, 59.4, 69.2, 52.8),
    ("Qwen2.5-VL-7B SFT", 32): (33.3, 49.4, 63.5, 60.5, 69.9, 55.4),
    ("Video-R1-7B", 16): (34.6, 49.8, 64.2, 62.7, 72.6, 57.4),
    ("Video-R1-7B", 32): (35.8, 52.3, 63.8, 63.9, 73.2, 59.3),
    ("Video-R1-7B", 64): (37.1, 52.4, 63.8, 64.8, 73.2, 61.4),
}
"""Video-R1's README table, percent: (model, frame cap) -> score per suite of `SUITES`."""
VIDEO_R1_SOURCE = "Video-R1 README table"
VIDEO_R1_NOTES = {
    "vsi_bench": "how accuracy and relative accuracy were combined is not published",
    "video_mmmu": "which of the two clip sets was shown is not published",
    "mmvu": "the 625 multiple-choice questions alone",
    "tempcompass": "how captions were scored is not published",
}
"""Suite -> why its numbers in that table are not comparable, where they are not."""
OFFICIAL: dict[str, tuple[tuple[str, int | None, float, str], ...]] = {
    "vsi_bench": (
        ("GPT-4o", None, 34.0, "VSI-Bench paper, main table (arXiv 2412.14171)"),
        ("Gemini-1.5-Flash", None, 42.1, "VSI-Bench paper, main table (arXiv 2412.14171)"),
        ("Gemini-1.5-Pro", None, 45.4, "VSI-Bench paper, main table (arXiv 2412.14171)"),
        ("LLaVA-NeXT-Video-72B", None, 40.9, "VSI-Bench paper, main table (arXiv 2412.14171)"),
    ),
    "video_mmmu": (
        ("GPT-4o", None, 61.22, "VideoMMMU README leaderboard"),
        ("Gemini-1.5-Pro", None, 53.89, "VideoMMMU README leaderboard"),
        ("Qwen2.5-VL-72B", None, 60.22, "VideoMMMU README leaderboard"),
        ("Qwen2.5-VL-7B", None, 47.44, "VideoMMMU README leaderboard"),
    ),
    "mmvu": (
        ("GPT-4o", None, 67.4, "MMVU leaderboard, validation set"),
        ("Gemini-1.5-Pro", None, 65.4, "MMVU leaderboard, validation set"),
        ("Qwen2-VL-7B", None, 42.1, "MMVU leaderboard, validation set"),
    ),
    "mvbench": (
        ("GPT-4V", None, 43.5, "MVBench paper, main table (arXiv 2311.17005)"),
        ("VideoChat2", 16, 51.1, "MVBench paper, main table (arXiv 2311.17005)"),
    ),
    "tempcompass": (
        ("GPT-4o", None, 73.75, "TempCompass leaderboard, Avg. All (captions by GPT-3.5)"),
        ("Qwen2-VL-7B", None, 67.85, "TempCompass leaderboard, Avg. All (captions by GPT-3.5)"),
        ("Gemini-1.5-Pro", None, 67.1, "TempCompass leaderboard, Avg. All (captions by GPT-3.5)"),
    ),
    "video_mme": (
        ("GPT-4o", None, 71.9, "BradyFU/Video-MME repository table, without subtitles"),
        ("Gemini-1.5-Pro", None, 75.0, "BradyFU/Video-MME repository table, without subtitles"),
        ("Gemini-1.5-Flash", None, 70.3, "BradyFU/Video-MME repository table, without subtitles"),
    ),
    "video_holmes": (
        ("Qwen2.5-VL-7B", None, 27.8, "TencentARC/Video-Holmes README"),
        ("Video-R1", None, 36.5, "TencentARC/Video-Holmes README"),
        ("Gemini-2.0-Flash", None, 30.6, "TencentARC/Video-Holmes README"),
        ("o4-mini", None, 29.9, "TencentARC/Video-Holmes README"),
        ("Gemini-2.5-Pro", None, 45.0, "Video-Holmes paper"),
    ),
}
"""Suite -> (model, frame cap, percent, source) of its own leaderboard or paper."""


def published(suite: str) -> list[Published]:
    """Every published number of a suite, the official ones first."""
    official = [
        Published(model, "official", frames, value, source) for model, frames, value, source in OFFICIAL.get(suite, ())
    ]
    if suite not in SUITES:
        return official
    column, note = SUITES.index(suite), VIDEO_R1_NOTES.get(suite, "")
    return official + [
        Published(model, "video_r1", frames, values[column], VIDEO_R1_SOURCE, note)
        for (model, frames), values in VIDEO_R1.items()
    ]
