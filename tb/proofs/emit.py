"""Writes a proof as RTLIL: ``python -m tb.proofs.emit NAME FILE STEP [FOLDER]``, the RTL from ``FOLDER/rtl``.

STEP is the number of cycles of an induction step, or ``reset`` for runs from reset.

A process of its own, so that the RTL of a planted bug replaces the real one everywhere.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path


def main(name: str, file: str, step: str, folder: str | None = None) -> None:
    """Write proof ``name`` to ``file``, made of the package ``rtl`` in ``folder`` if one is given."""
    if folder is not None:
        sys.path.insert(0, folder)
    warnings.simplefilter("ignore", DeprecationWarning)
    from tb.proofs.catalogue import PROOFS
    from tb.proofs.harness import Harness

    harness = Harness(None if step == "reset" else int(step))
    PROOFS[name].state(harness)
    Path(file).write_text(harness.rtlil())


if __name__ == "__main__":
    main(*sys.argv[1:])
