"""The register map for UVM, and as pages to read: PeakRDL makes them from our SystemRDL.

PeakRDL is loaded when something is made; it comes with the extra ``registers``.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

from rtl.spec.params import RLUParams
from rtl.spec.systemrdl import systemrdl

#: Name of the SystemVerilog package.
UVM_PACKAGE = "rlu_regs_pkg"
#: Methods of ``uvm_reg`` that a field must not hide.
_UVM_METHODS = ("update", "sample")


class Missing(ValueError):
    """PeakRDL is not installed; the message says how to install it."""


def uvm(params: RLUParams) -> str:
    """A SystemVerilog package with a UVM register model: class ``rlu``, and one for each register.

    Fields that would hide a method of ``uvm_reg`` have an underscore behind their name.

    Raises:
        Missing: if PeakRDL is not installed.
    """
    exporter = _loaded("peakrdl_uvm", "UVMExporter")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{UVM_PACKAGE}.sv"
        exporter().export(_compiled(systemrdl(params, taken=_UVM_METHODS), Path(folder)), str(path))
        return path.read_text(encoding="utf-8")


def html(params: RLUParams, folder: Path) -> None:
    """Write pages with a search into a folder; ``index.html`` is the first.

    Raises:
        Missing: if PeakRDL is not installed.
    """
    exporter = _loaded("peakrdl_html", "HTMLExporter")
    with tempfile.TemporaryDirectory() as source:
        node = _compiled(systemrdl(params), Path(source))
        exporter(generate_source_links=False).export(node, str(folder), title="RLU")


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
            f"this format needs PeakRDL, and {error.name} is missing: pip install 'rlu-cosim[registers]'"
        ) from error
