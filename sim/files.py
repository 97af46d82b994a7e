"""Files that survive a full disk or a kill, folders with one writer at a time, and paths that every tool accepts."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import platform
import re
import sys
import tempfile
from pathlib import Path

from rtl.files import cache_dir, check_folder, left_by_kill, scratch_folder, write_atomically

__all__ = [
    "LOCK",
    "FolderInUse",
    "FolderLock",
    "ToolMissing",
    "cache_dir",
    "check_folder",
    "is_plain",
    "left_by_kill",
    "plain_path",
    "scratch_folder",
    "temporary_folder",
    "write_atomically",
]

#: Unix limits a socket's path to about 100 bytes; ours end in the name of a scratch folder and "socket".
_SOCKET_ROOM = 70
#: File in a folder that a process writes to; it names the process.
LOCK = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # error codes of file systems without locks
_held: set[int] = set()


class ToolMissing(RuntimeError):
    """A program or package is not installed; the message says what to install."""


def is_plain(path: Path) -> bool:
    """Whether the path needs no quoting in make, in a shell, and in lists separated by colons or semicolons."""
    return re.fullmatch(r"[\w./+@%=~-]*", str(path), re.ASCII) is not None


def temporary_folder() -> Path:
    """The system's folder of temporary files, if its path is plain and short enough for a socket in it; else /tmp."""
    usual = Path(tempfile.gettempdir()).absolute()
    return usual if is_plain(usual) and len(str(usual)) <= _SOCKET_ROOM else Path("/tmp")


def plain_path(path: Path) -> Path:
    """The absolute path if it is plain (`is_plain`), else a plain link to it.

    Raises:
        OSError: if no such link can be made.
    """
    path = path.absolute()  # not resolved, because a virtual environment depends on its links
    if is_plain(path):
        return path
    links = temporary_folder() / f"rlu-links-{os.getuid()}"
    links.mkdir(mode=0o700, exist_ok=True)
    if links.is_symlink() or links.stat().st_uid != os.getuid():
        raise PermissionError(f"{links} belongs to another user: remove it, or set TMPDIR to a folder of your own")
    link = links / hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    if not link.is_symlink() or link.readlink() != path:
        part = link.with_name(f"{link.name}.{os.getpid()}")
        part.unlink(missing_ok=True)
        part.symlink_to(path)
        part.replace(link)
    return link


class FolderInUse(ValueError):
    """Another process writes to the folder; the message names it."""


class FolderLock:
    """The right to write to a folder, held until `release` or until this process ends in any way.

    The operating system holds the lock, so it disappears when its owner dies. Child processes do not inherit it. Use
    it as a context manager, or call `release`.

    Args:
        folder: made if missing. A folder that this process may not write to is not locked, because it cannot change.

    Raises:
        FolderInUse: if the lock is held, even by this process.
        OSError: if the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]
        self._process = os.getpid()
        self._file: int | None = None
        while self._file is None:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                file = self._open()
            except OSError as error:
                if os.access(folder, os.F_OK) and not os.access(folder, os.W_OK):
                    return
                if error.errno == errno.ELOOP:
                    raise FolderInUse(f"{self._path} is a link, not a lock: remove it") from None
                raise
            if self._lock(file):
                self._file = file
            else:
                os.close(file)
        _held.add(self._file)
        try:
            self._sign()
        except OSError as error:
            self.release()
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except PermissionError:  # another user's, who may be gone: read access is enough for a lock
            return os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)

    def _sign(self) -> None:
        assert self._file is not None
        if fcntl.fcntl(self._file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR:
            os.ftruncate(self._file, 0)
            os.write(self._file, f"process {self._process} on {platform.node()}\n".encode())

    def _lock(self, file: int) -> bool:
        """Lock an open file; returns whether it is still the one of that name, which its last owner removes."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(file), self._path.stat())
        except FileNotFoundError:
            return False
        except BlockingIOError:
            owner = os.read(file, 200).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise FolderInUse(
                f"{self._path.parent} is in use by {owner}: wait until it has ended, or choose another --out"
            ) from None
        except OSError as error:
            if error.errno in _NO_LOCKS:
                print(f"{self._path.parent}: files cannot be locked there: run nothing else in it", file=sys.stderr)
                return True
            os.close(file)
            raise

    def release(self) -> None:
        """Let others write to the folder; remove it if it was made here and is still empty."""
        if self._file is None or self._process != os.getpid():
            return
        with contextlib.suppress(PermissionError):  # another user's
            self._path.unlink(missing_ok=True)  # while locked: nobody must hold a removed file
        _held.discard(self._file)
        os.close(self._file)
        self._file = None
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def _let_go() -> None:
    """Close the locks in a forked child, which would hold them longer than their owner lives."""
    for file in _held:
        os.close(file)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
