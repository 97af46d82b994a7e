"""The FPGA tools that come as Python packages: where they are, what they need to run, what they say when they fail."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path


class FpgaToolMissing(RuntimeError):
    """A tool, or the package ``what``, is not installed; the message says how to get it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not installed: pip install 'rlu-cosim[fpga]'")


def find(command: str) -> str | None:
    """Path of a program: beside this Python, or on PATH."""
    return shutil.which(command, path=_path())


def executable(command: str, package: str) -> str:
    """Path of a tool, as `find` has it. Raises FpgaToolMissing."""
    found = find(command)
    if found is None:
        raise FpgaToolMissing(f"{command} of the package {package}")
    return found


def version(package: str) -> str:
    """Version of the installed package that brings a tool. Raises FpgaToolMissing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise FpgaToolMissing(f"the package {package}") from None


def run(command: Sequence[str], folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run a tool in a folder; ``stdout`` of the result is all that it said, its return code is for the caller."""
    return subprocess.run(
        command, cwd=folder, env=_environment(cache), text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def last_words(output: str) -> str:
    """What to show of a tool that gave up: its first errors, or else its last lines."""
    lines = [line for line in output.strip().splitlines() if line.strip()]
    return "\n".join([line for line in lines if "ERROR" in line or "Error" in line][:4] or lines[-4:])


def first_call(packages: Iterable[str], cache: Path) -> bool:
    """Whether one of the tools has yet to compile itself, which takes it one or two minutes."""
    kept = Path(_environment(cache)["YOWASP_CACHE_DIR"])
    return any(not (kept / package.replace("-", "_")).exists() for package in packages)


def _environment(cache: Path) -> dict[str, str]:
    """A tool's environment: what it compiles of itself at its first call is kept in ``cache``."""
    return {"YOWASP_CACHE_DIR": str((cache / "yowasp").resolve()), **os.environ, "PATH": _path()}


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
