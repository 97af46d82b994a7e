"""Images changed a little each time they are shown, so that a network does not learn them by heart."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

#: A batch of images (N, C, H, W) and a generator to draw from, to images of the same shape.
Change = Callable[[Tensor, torch.Generator], Tensor]


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to an eighth of its sides in both directions; what comes in is 0, the mean.

    A side of fewer than 8 pixels is not moved along: one pixel would be more than an eighth.

    Args:
        images: (N, C, H, W), on any device.
        generator: on the CPU, so that all devices draw the same.
    """
    count, _, height, width = images.shape
    down, right = height // 8, width // 8
    padded = functional.pad(images, (right, right, down, down))
    tops = torch.randint(0, 2 * down + 1, (count, 1), generator=generator).to(images.device)
    lefts = torch.randint(0, 2 * right + 1, (count, 1), generator=generator).to(images.device)
    rows = tops + torch.arange(height, device=images.device)
    columns = lefts + torch.arange(width, device=images.device)
    numbers = torch.arange(count, device=images.device)
    taken = padded[numbers[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
    return taken.permute(0, 3, 1, 2)


def shifted_and_mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """`shifted`, and every second image, drawn, is mirrored left to right."""
    moved = shifted(images, generator)
    mirror = torch.randint(0, 2, (len(images), 1, 1, 1), generator=generator).to(images.device).bool()
    return torch.where(mirror, moved.flip(3), moved)


#: Changes by name; ``none`` changes nothing.
CHANGES: dict[str, Change | None] = {"none": None, "shift": shifted, "shift-mirror": shifted_and_mirrored}
