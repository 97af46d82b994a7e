"""The register map for UVM, and as pages to read: PeakRDL makes them from our SystemRDL.

PeakRDL is loaded when something is made; it comes with the extra ``registers``.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

from rtl.spec.names import DEFAULT
from rtl.spec.params import RLUParams
from rtl.spec.systemrdl import systemrdl


class Missing(ValueError):
    """PeakRDL is not installed; the message says how to install it."""


def uvm(params: RLUParams, name: str = DEFAULT) -> str:
    """A SystemVerilog package ``rlu_regs_pkg`` with a UVM register model: class ``rlu``, and one for each register.

    ``name`` is another prefix than ``rlu``.

    Raises:
        Missing: if PeakRDL is not installed.
    """
    exporter = _loaded("peakrdl_uvm", "UVMExporter")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}_regs_pkg.sv"
        exporter().export(_compiled(systemrdl(params, name), Path(folder)), str(path))
        return path.read_text(encoding="utf-8")


def html(params: RLUParams, folder: Path, name: str = DEFAULT) -> None:
    """Write pages with a search into a folder; ``index.html`` is the first, and ``name`` their title.

    Raises:
        Missing: if PeakRDL is not installed.
    """
    exporter = _loaded("peakrdl_html", "HTMLExporter")
    with tempfile.TemporaryDirectory() as source:
        node = _compiled(systemrdl(params, name), Path(source))
        exporter(generate_source_links=False).export(node, str(folder), title=name.upper())


def _compiled(text: str, folder: Path) -> Any:
    compiler = _loaded("systemrdl", "RDLCompiler")()
    path = folder / "rlu.rdl"
    path.write_text(text, encoding="utf-8")
    compiler.compile_file(str(path))
    return compiler.elaborate()


def _loaded(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise Missing(
            f"this format needs PeakRDL, and {error.name} is missing: pip install 'rlu-cosim[registers]' "
            "(in a checkout: pip install -e '.[registers]')"
        ) from error
