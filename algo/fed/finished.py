"""What a client says of its own network after a run, and whether that can be."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from algo.support.user_files import check_object

#: Fields and types; see `algo.fed.client.Client.finish`.
FINISHED: dict[str, Any] = {
    "client": int, "images": int, "preference": list[float], "accuracy": float, "tuned_accuracy": float,
    "options": list[list[int] | None], "latency_ms": float, "size_bytes": int,
}  # fmt: skip


def checked(
    content: object, what: str, blocks: int | None = None, options: Collection[tuple[int, ...]] | None = None
) -> Mapping[str, Any]:
    """The content, if a client can have said it.

    Args:
        content: values of a JSON object.
        what: it is, for the message.
        blocks: that a network has; ``None`` for any number.
        options: kernel, expansion and bits of all that a block can be; ``None`` for any.

    Raises:
        ValueError: naming the first field that cannot be.
    """
    found = check_object(content, FINISHED, what)

    def need(name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ValueError(f"{name} of {what} must be {allowed}, not {found[name]!r}")

    for name in ("accuracy", "tuned_accuracy"):
        need(name, 0 <= found[name] <= 1, "in 0..1")
    need("images", found["images"] >= 1, "at least 1")
    need("latency_ms", math.isfinite(found["latency_ms"]) and found["latency_ms"] >= 0, "a number from 0")
    need("size_bytes", found["size_bytes"] >= 0, "at least 0")
    sound = len(found["preference"]) == 3 and all(0 <= one <= 1 for one in found["preference"])
    need("preference", sound, "three numbers in 0..1")
    need("options", blocks is None or len(found["options"]) == blocks, f"of {blocks} blocks")
    known = [one for one in found["options"] if one is not None]
    sound = all(len(one) == 3 and (options is None or tuple(one) in options) for one in known)
    need("options", sound, "kernel, expansion and bits of options that the space has, or null")
    return found
