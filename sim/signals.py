"""Signals that wait until something is done whole."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP wait for the end of the block.

    Their handlers may raise an exception at any place, and not every place passes it on: `pickle` and the finaliser of
    a `ZipFile` lose it. In a thread other than the main one this does nothing, as Python runs no handlers there.
    """
    came: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        handlers = {number: handler for number in signals if callable(handler := signal.getsignal(number))}
    try:
        for number in handlers:
            signal.signal(number, lambda number, frame: came.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for first in came[:1]:
            signal.raise_signal(first)
