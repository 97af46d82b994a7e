"""Files that survive a full disk or a kill, scratch folders that are removed even after a kill, and the cache."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_OWNER = ".owner"


def cache_dir() -> Path:
    """Where built simulators are kept: ``$RLU_CACHE_DIR``, else ``rlu-cosim`` in the user's cache folder.

    Raises:
        OSError: if neither is known.
    """
    named = os.environ.get("RLU_CACHE_DIR")
    return Path(named) if named else _users_cache() / "rlu-cosim"


def _users_cache() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # HOME is not set, and the system does not know this user
        raise OSError("there is no home folder to keep a cache in: set RLU_CACHE_DIR to a folder") from None


def tool_home(cache: Path) -> dict[str, str]:
    """What Yosys and nextpnr need in their environment if the user's own cache folder cannot be written to.

    They run in WebAssembly, and its runtime keeps compiled code there.
    """
    try:
        check_folder(_users_cache() / "wasmtime")
        Path.home()
        return {}
    except (OSError, RuntimeError):
        home = (cache / "home").absolute()
        return {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "XDG_CONFIG_HOME": str(home / ".config")}


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: on a full disk or after a kill, the old one is still there.

    A symbolic link stays, and its target is written; a device or a FIFO is written directly.

    Raises:
        OSError: naming ``path``, never the temporary file beside it.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as device:
                device.write(data)
            return
        target = path.resolve()
        check_folder(target.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not the process's number: two containers that share a folder may have the same one.
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def left_by_kill(folder: Path) -> list[Path]:
    """Files in a folder that `write_atomically` had not finished, now or when its process was killed."""
    return [path for path in folder.glob(".*") if re.fullmatch(r"\..+\.[0-9a-f]{12}", path.name) and path.is_file()]


def check_folder(folder: Path) -> None:
    """Raise the OSError now if files cannot be written into a folder later; makes nothing."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))


@contextlib.contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder that is removed at the end.

    A process that is killed cannot remove its folder. The next process that asks for a folder of the same prefix in
    the same place removes it. Folders in use are locked, and the system drops a lock when its process ends.

    Args:
        prefix: beginning of the folder's name; no folder of another program may begin like this.
        parent: where it is made; default: the system's folder of temporary files.
    """
    parent = (parent or Path(tempfile.gettempdir())).absolute()
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{prefix}*/{_OWNER}"):
        _remove_if_left(left)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        # Locked before it gets its name; otherwise another process could take it for an abandoned one.
        with (folder / f"{_OWNER}-new").open("w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            Path(owner.name).rename(folder / _OWNER)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(owner: Path) -> None:
    with contextlib.suppress(OSError), owner.open("r+") as lock:  # another user's, already gone, or in use
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(owner.parent, ignore_errors=True)
