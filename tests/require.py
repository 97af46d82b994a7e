"""Skips a test whose files or programs are not installed; on a build server, where they must be, fails it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def require_path(path: Path, package: str) -> Path:
    """The path if it exists; else skip with the package to install, or fail where the variable CI is set."""
    if not path.exists():
        reason = f"{path} is missing: install the package {package}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def require_command(name: str, package: str) -> str:
    """The command's path if it is there; else skip, or fail, as `require_path` does."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is missing: install the package {package}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
