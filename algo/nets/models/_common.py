"""What networks of several files share."""

from __future__ import annotations

# Share of the newest batch in the running statistics. Retraining takes few batches between changes of
# bit-widths; with the usual 0.1, tests would use statistics of earlier bit-widths.
NORM_MOMENTUM = 0.3


def check_sizes(kind: str, classes: int, channels: int, width: int, image_size: tuple[int, int]) -> None:
    """Raise ValueError, which names the size, unless a network can be made for it; images have 8x8 pixels or more."""
    for name, value, minimum in (("classes", classes, 2), ("channels", channels, 1), ("width", width, 1)):
        if value < minimum:
            raise ValueError(f"{name} must be an integer of at least {minimum}, not {value!r}")
    if min(image_size) < 8:
        raise ValueError(
            f"{kind} takes images of at least 8x8 pixels, not {image_size[0]}x{image_size[1]}: scale them up; "
            "arrays of images are (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
