"""A run is a folder, and one process at a time writes to it: what all kinds of runs share."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from algo.support.user_files import check_object, check_type, parse_json, reading
from sim.files import LOCK, FolderLock, left_by_kill, write_atomically

CONFIG, INPUTS = "config.json", "inputs.json"


class RunFolderError(ValueError):
    """A run folder that cannot be used as asked; the message says why and what to do."""


#: What `reading` is to say of a file that nothing can replace.
DAMAGED = ("{} is damaged", "begin again with another --out", RunFolderError)


class HeldFolder:
    """The folder of one run. Any number of processes may read it, and one at a time write to it.

    As a context manager it is held for writing until the end of the block. A run that was begun here and fails before
    it has done anything leaves nothing behind then.

    Args:
        path: the folder; `create` makes it, `open` expects it.

    Attributes:
        beginnings: names of the files that a run may have before it has done anything.
        begun_here: whether `create` made it.
    """

    beginnings: tuple[str, ...] = (CONFIG, INPUTS)

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun_here = False
        self._lock: FolderLock | None = None

    @classmethod
    def create(cls, path: Path, config: Mapping[str, Any]) -> Self:
        """Begin a new run, and hold its folder for writing.

        Args:
            path: the folder.
            config: what the run depends on.

        Raises:
            RunFolderError: if there is something in the folder already.
            FolderInUse: if another process writes to it.
        """
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path} is a file, not a folder: choose another --out")
        folder = cls(path)
        folder._lock = FolderLock(path)
        try:
            if content(path):
                raise RunFolderError(f"{path} is not empty: continue it with --resume, or choose another --out")
            folder.begun_here = True
            folder._tidy()
            write_atomically(path / CONFIG, json.dumps(config, indent=2) + "\n")
        except BaseException:
            folder.release()
            raise
        return folder

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a run; raises RunFolderError if there is none."""
        if not (path / CONFIG).exists():
            raise RunFolderError(f"{path} holds no run: it has no {CONFIG}")
        folder = cls(path)
        folder.refresh()
        return folder

    def refresh(self) -> None:
        """Read what a process may have written since."""

    @property
    def started(self) -> bool:
        """Whether the run has done anything that is to be kept."""
        return False

    def hold(self) -> None:
        """Take the folder for writing, unless it is held already; raises FolderInUse if another process has it."""
        if self._lock is None:
            self._lock = FolderLock(self.path)
            self._tidy()
            self.refresh()  # again: another process may have continued it

    def _tidy(self) -> None:
        """Remove what a killed process left half written; only for who holds the folder."""
        for path in left_by_kill(self.path):
            with contextlib.suppress(OSError):  # a folder that cannot be written to is not locked, either
                path.unlink()

    def release(self) -> None:
        """Let other processes write to the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        self.hold()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        # Ctrl-C is not a refusal: such a run can be resumed.
        if kind is not None and issubclass(kind, Exception) and self.begun_here and not self.started and self._lock:
            for name in self.beginnings:
                (self.path / name).unlink(missing_ok=True)
        self.release()

    @property
    def config(self) -> dict[str, Any]:
        """The configuration the run was begun with."""
        with reading(self.path / CONFIG, *DAMAGED):
            return dict(check_object(parse_json((self.path / CONFIG).read_bytes()), {}, "what it holds"))

    def check_input(self, name: str, what: str, digest: str, say: Callable[[str], None]) -> None:
        """Refuse a file that is not as it was when the run was begun; before it has done anything, keep its digest.

        Args:
            name: under which the digest is kept.
            what: the file, as a message names it.
            digest: of its content as the run sees it.
            say: is told if an earlier version began the run, which kept no digests.

        Raises:
            RunFolderError: if the digest is another.
        """
        known = self.inputs
        if name in known and known[name] != digest:
            raise RunFolderError(
                f"{what} changed after the run in {self.path} began (SHA-256 {digest[:12]}..., not "
                f"{str(known[name])[:12]}...): put back what was there, or begin a new run with another --out"
            )
        if name not in known and self.started:
            say(f"{self.path} was begun by a version that kept no digests: changes in {what} cannot be detected")
        elif name not in known and self._lock is not None:
            write_atomically(self.path / INPUTS, json.dumps(known | {name: digest}, indent=2) + "\n")

    @property
    def inputs(self) -> dict[str, Any]:
        """Digests of what the run was begun with, by name; empty if an earlier version began it."""
        path = self.path / INPUTS
        if not path.exists():
            return {}
        with reading(path, *DAMAGED):
            known = parse_json(path.read_bytes())
            check_type(known, dict[str, str], "what it holds")
            return dict(known)

    def write(self, name: str, content: str | bytes) -> None:
        """Write one of the results, whole or not at all."""
        write_atomically(self.path / name, content)


def kind_of(config: Path) -> str:
    """What a configuration's file says that it is of; empty if it says nothing, or is damaged."""
    try:
        content = parse_json(config.read_bytes())
    except ValueError:  # whoever opens the folder says what is wrong
        return ""
    return str(content.get("format", "")) if isinstance(content, dict) else ""


def put_aside(path: Path) -> Path:
    """Rename a file or folder that is in the way, and return its new path: its name with the first free number."""
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    path.rename(aside)
    return aside


def content(path: Path) -> list[Path]:
    """What is in a folder, apart from a writer's lock and unfinished files; empty if the folder is missing."""
    if not path.is_dir():
        return []
    unfinished = left_by_kill(path)
    return [there for there in path.iterdir() if there.name != LOCK and there not in unfinished]
