"""Files that survive a full disk or a kill, and where the cache lies."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from rtl.files import check_folder, scratch_folder, write_atomically

__all__ = [
    "cache_dir", "check_folder", "is_plain", "plain_path", "scratch_folder", "temporary_folder", "write_atomically"
]  # fmt: skip

#: Unix limits the path of a socket to about 100 bytes; ours end in a scratch folder's name and "socket".
_SOCKET_ROOM = 70


def cache_dir() -> Path:
    """Where built simulators are kept: ``$RLU_CACHE_DIR``, else ``rlu-cosim`` in the user's cache folder."""
    named = os.environ.get("RLU_CACHE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rlu-cosim"


def is_plain(path: Path) -> bool:
    """Whether make, a shell, and lists that are separated by a colon or a semicolon take the path as it is."""
    return re.fullmatch(r"[\w./+@%=~-]*", str(path), re.ASCII) is not None


def temporary_folder() -> Path:
    """The system's folder of temporary files, if its path is plain and short enough for a socket in it; else /tmp."""
    usual = Path(tempfile.gettempdir())
    return usual if is_plain(usual) and len(str(usual)) <= _SOCKET_ROOM else Path("/tmp")


def plain_path(path: Path) -> Path:
    """The absolute path, or, unless it is plain (`is_plain`), a link to it whose own path is.

    Raises:
        OSError: if no such link can be made.
    """
    path = path.absolute()  # not resolved: a virtual environment is known by its links
    if is_plain(path):
        return path
    links = temporary_folder() / f"rlu-links-{os.getuid()}"
    links.mkdir(mode=0o700, exist_ok=True)
    if links.is_symlink() or links.stat().st_uid != os.getuid():
        raise PermissionError(f"{links} belongs to somebody else: remove it, or set TMPDIR to a folder of your own")
    link = links / hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    if not link.is_symlink() or link.readlink() != path:
        part = link.with_name(f"{link.name}.{os.getpid()}")
        part.unlink(missing_ok=True)
        part.symlink_to(path)
        part.replace(link)
    return link
