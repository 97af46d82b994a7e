"""Networks and states of training as bytes, in PyTorch's own format."""

from __future__ import annotations

import io

import torch

from sim.signals import signals_wait


def saved(content: object) -> bytes:
    """What `torch.save` writes of ``content``; a signal waits until it is done."""
    buffer = io.BytesIO()
    with signals_wait():
        torch.save(content, buffer)
    return buffer.getvalue()
