"""Positions of multi-axis rotary embedding (M-RoPE) as released weights were trained with.

After a picture or a video the text continues at the largest position used so far plus one: the released weights were
trained with this rule and vLLM serves it. transformers 5.19 continues at the picture's start plus its larger spatial
side, so that for a video longer than it is wide the question overlaps the frames in time; a model trained that way is
shifted when another engine serves it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from tasks.core.backbones.base import IMAGE, VIDEO

if TYPE_CHECKING:
    import torch


def rope_index(
    inner: Any,
    input_ids: torch.Tensor,
    mm_token_type_ids: torch.Tensor,
    image_grid_thw: torch.Tensor | None = None,
    video_grid_thw: torch.Tensor | None = None,
    second_per_grid_ts: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of a batch; a drop-in for `get_rope_index`.

    Args:
        inner: the inner model, read for its vision configuration.
        input_ids: (B, L).
        mm_token_type_ids: (B, L); 0 text, 1 image, 2 video.
        image_grid_thw: (images, 3) patches in time, height and width, in order of appearance over the batch.
        video_grid_thw: (videos, 3), likewise.
        second_per_grid_ts: (videos,) seconds between temporal patches; one second each when None.
        attention_mask: (B, L); masked tokens get position 0 and take no part.

    Returns:
        Positions (3, B, L) for time, height and width, and (B, 1): next position minus tokens so far, per row.
    """
    import torch

    vision = inner.config.vision_config
    per_second = getattr(vision, "tokens_per_second", 1)
    grids = {
        IMAGE: iter([] if image_grid_thw is None else image_grid_thw.tolist()),
        VIDEO: iter([] if video_grid_thw is None else video_grid_thw.tolist()),
    }
    given = None if second_per_grid_ts is None else torch.as_tensor(second_per_grid_ts).tolist()
    seconds = itertools.repeat(1.0) if given is None else iter(given)
    positions = torch.zeros(3, *input_ids.shape, dtype=torch.long)
    deltas = []
    for row, kinds in enumerate(mm_token_type_ids.cpu()):
        kept = torch.ones_like(kinds, dtype=torch.bool) if attention_mask is None else attention_mask[row].bool().cpu()
        blocks: list[torch.Tensor] = []
        start = 0
        for kind, group in itertools.groupby(kinds[kept].tolist()):
            count = len(list(group))
            if kind in grids:
                step = next(seconds) * per_second if kind == VIDEO else 1.0
                block = grid_positions(next(grids[kind]), vision.spatial_merge_size, step)
            else:
                block = torch.arange(count).expand(3, -1)
            blocks.append(block + start)
            start += int(block.max()) + 1
        positions[:, row, kept] = torch.cat(blocks, dim=1)
        deltas.append(start - int(kept.sum()))
    return positions.to(input_ids.device), torch.tensor(deltas, device=input_ids.device).unsqueeze(1)


def grid_positions(grid: list[int], merge: int, step: float) -> torch.Tensor:
    """Positions (3, T*H*W) of one picture or video, from zero.

    Args:
        grid: patches in time, height and width.
        merge: patches merged into one token, per side.
        step: positions between temporal patches; rounded down after multiplying, as published.
    """
    import torch

    frames, height, width = grid[0], grid[1] // merge, grid[2] // merge
    time = (torch.arange(frames, dtype=torch.float64) * step).long()
    return torch.stack(torch.meshgrid(time, torch.arange(height), torch.arange(width), indexing="ij")).reshape(3, -1)
