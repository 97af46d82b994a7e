"""ZIP files as bytes: they have checksums, and the same content gives the same bytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

from sim.signals import signals_wait


def zipped(members: Mapping[str, bytes | str]) -> bytes:
    """A ZIP file of ``members`` by name, not compressed, without the time of day; a signal waits until it is done."""
    with signals_wait():
        return _zipped(members)


def _zipped(members: Mapping[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()  # the archive's finaliser, which would lose a signal, runs here
