"""The FPGA tools that come as Python packages: where they are, what they need to run, how they report errors."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from rtl.files import tool_home


class FpgaToolMissing(RuntimeError):
    """``what`` of a package is not installed; the message says how to get it."""

    def __init__(self, what: str, package: str) -> None:
        super().__init__(
            f"{what} is not installed: pip install {package}, or everything for FPGAs with "
            "pip install 'rlu-cosim[fpga]' (in a checkout: pip install -e '.[fpga]')"
        )


class ToolFailed(RuntimeError):
    """A tool failed, but not because of the design's size or clock; the message ends with the tool's own words.

    Args:
        tool: its name.
        output: what it printed.
        log: text of its log; Yosys reports a failed assertion only there.
    """

    def __init__(self, tool: str, output: str, log: str = "") -> None:
        said = last_words(f"{log}\n{output}") or "nothing, neither in its output nor in its log"
        super().__init__(f"{tool} gave up on the design: try a smaller one, or reinstall the tool. It said:\n{said}")


def find(command: str) -> str | None:
    """Path of a program: beside this Python, or on PATH."""
    return shutil.which(command, path=_path())


def executable(command: str, package: str) -> str:
    """Path of a tool, as `find` returns it. Raises FpgaToolMissing."""
    found = find(command)
    if found is None:
        raise FpgaToolMissing(f"{command} of the package {package}", package)
    return found


def version(package: str) -> str:
    """Version of the installed package that brings a tool. Raises FpgaToolMissing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise FpgaToolMissing(f"the package {package}", package) from None


class Runner:
    """Runs tools, also from several threads; `stop` ends all of them.

    Args:
        cache: folder in which they keep their compiled code, which they make at their first call.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a tool in a folder; ``stdout`` of the result is all its output. The caller checks the return code.

        Raises:
            RuntimeError: after `stop`.
        """
        prepare(command[0], self._cache)
        with self._lock:
            if self._stopped:
                raise RuntimeError(f"{command[0]} is not run: the others were stopped")
            process = subprocess.Popen(
                # A killed tool leaves its temporary files in its working folder.
                command, cwd=folder, env=_environment(self._cache) | {"TMPDIR": str(folder.resolve())},
                text=True, errors="replace",
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            self._running.add(process)
        with process:
            try:
                output, _ = process.communicate()
            except BaseException:
                process.kill()
                raise
            finally:
                with self._lock:
                    self._running.discard(process)
        return subprocess.CompletedProcess(command, process.returncode, output)

    def stop(self) -> None:
        """Kill what is running, and start nothing more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()


def run(command: Sequence[str], folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run a single tool, see `Runner`."""
    return Runner(cache).run(command, folder)


def prepare(tool: str, cache: Path) -> None:
    """Have a tool compile itself, which it does at its first call, in one process only.

    It overwrites a file that other processes may have mapped; those would end with SIGBUS.
    """
    folder = Path(_environment(cache)["YOWASP_CACHE_DIR"])
    done = folder / f".{Path(tool).name}-{Path(tool).stat().st_mtime_ns}"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{Path(tool).name}-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            quiet = subprocess.DEVNULL
            subprocess.run(
                [tool, "--version"], env=_environment(cache), stdin=quiet, stdout=quiet, stderr=quiet, check=False
            )
            done.touch()


def last_words(output: str) -> str:
    """What to show of a tool that failed: its first errors, or else its last lines."""
    lines = [line for line in output.strip().splitlines() if line.strip()]
    errors = dict.fromkeys(line for line in lines if "ERROR" in line or "Error" in line)
    return "\n".join(list(errors)[:4] or lines[-4:])


def first_call(packages: Iterable[str], cache: Path) -> bool:
    """Whether one of the tools must still compile itself, which takes one or two minutes."""
    kept = Path(_environment(cache)["YOWASP_CACHE_DIR"])
    return any(not (kept / package.replace("-", "_")).exists() for package in packages)


def _environment(cache: Path) -> dict[str, str]:
    """A tool's environment: the code that it compiles at its first call is kept in ``cache``."""
    ours = {"YOWASP_CACHE_DIR": str((cache / "yowasp").resolve())}
    return ours | os.environ | tool_home(cache) | {"PATH": _path()}


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
