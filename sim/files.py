"""Files that survive a full disk or a kill, and where the cache lies."""

from __future__ import annotations

import os
from pathlib import Path

from rtl.files import check_folder, write_atomically

__all__ = ["cache_dir", "check_folder", "write_atomically"]


def cache_dir() -> Path:
    """Where built simulators are kept: ``$RLU_CACHE_DIR``, else ``rlu-cosim`` in the user's cache folder."""
    named = os.environ.get("RLU_CACHE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rlu-cosim"
