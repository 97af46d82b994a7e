"""Keeps object files of Verilator's own runtime: its makefile calls this in front of the compiler (OBJCACHE).

Every simulation compiles a design and the same few files of the runtime, which take longer than most of our designs.
``object_cache.py FOLDER COMPILER ARGUMENT...`` runs the compiler. It keeps a runtime file's object in FOLDER, or takes
it from there if the same command compiled it before. Anything else is compiled as usual.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def key_of(command: Sequence[str]) -> str:
    """Name of the object that a command makes, empty if it is not kept."""
    root = os.environ.get("VERILATOR_ROOT")
    source = Path(command[-1])
    if not root or "-c" not in command or "-o" not in command or source.parent != Path(root) / "include":
        return ""
    compiler = Path(shutil.which(command[0]) or command[0]).resolve()
    target = command[command.index("-o") + 1]
    stamps = [str(path.stat().st_mtime_ns) for path in (compiler, source) if path.exists()]
    parts = [str(compiler), *stamps, *(word for word in command if word != target)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def main(argv: Sequence[str]) -> int:
    """Make the object; returns the compiler's exit code."""
    folder, command = Path(argv[0]), argv[1:]
    key = key_of(command)
    if not key:
        return subprocess.run(command, check=False).returncode
    target, kept = Path(command[command.index("-o") + 1]), folder / f"{key}.o"
    with contextlib.suppress(OSError):
        shutil.copyfile(kept, target)
        return 0
    code = subprocess.run(command, check=False).returncode
    if code == 0:
        with contextlib.suppress(OSError):  # compile even if the cache cannot be written
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f"{key}.{os.getpid()}"
            shutil.copyfile(target, part)
            part.replace(kept)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
