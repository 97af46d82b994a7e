"""The FPGA tools that come as Python packages: where they are, and what they need to run."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

INSTALL = "pip install 'rlu-cosim[fpga]'"


class FpgaToolMissing(RuntimeError):
    """A tool is not installed; the message names the package that brings it."""


def executable(command: str, package: str) -> str:
    """Path of a tool: beside this Python, or on PATH. Raises FpgaToolMissing."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(command, path=path)
    if found is None:
        raise FpgaToolMissing(f"{command} of the package {package} is not installed: {INSTALL}")
    return found


def version(package: str) -> str:
    """Version of the installed package that brings a tool. Raises FpgaToolMissing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise FpgaToolMissing(f"the package {package} is not installed: {INSTALL}") from None


def tool_environment(cache: Path) -> dict[str, str]:
    """Environment for a tool: what it compiles of itself at its first call is kept in ``cache``."""
    return {"YOWASP_CACHE_DIR": str((cache / "yowasp").resolve()), **os.environ}


def first_call(packages: Iterable[str], cache: Path) -> bool:
    """Whether one of the tools has yet to compile itself, which takes it one or two minutes."""
    kept = Path(tool_environment(cache)["YOWASP_CACHE_DIR"])
    return any(not (kept / package.replace("-", "_")).exists() for package in packages)
