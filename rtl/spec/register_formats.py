"""The formats in which the register map can be written, by their names on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rtl.spec.ipxact import component_xml
from rtl.spec.names import renamed
from rtl.spec.params import RLUParams
from rtl.spec.peakrdl_exports import html, uvm
from rtl.spec.register_exports import c_header, description, svd, verilog_header
from rtl.spec.registers import markdown
from rtl.spec.systemrdl import systemrdl

#: Formats that are one text and know nothing of the bus, of a unit and the prefix of its names.
TEXTS: dict[str, Callable[[RLUParams, str], str]] = {
    "c": lambda params, name: renamed(c_header(params), name),
    "verilog": lambda params, name: renamed(verilog_header(params), name),
    "svd": lambda params, name: renamed(svd(params), name),
    "systemrdl": systemrdl,
    "uvm": uvm,
    "markdown": lambda params, name: markdown(params),
    "json": lambda params, name: json.dumps(description(params), indent=2) + "\n",
}
#: Formats that are a folder.
FOLDERS: dict[str, Callable[[RLUParams, Path, str], None]] = {"html": html}
#: Formats that describe the ports too.
COMPONENTS: dict[str, Callable[[RLUParams, str, Sequence[Mapping[str, Any]], str], str]] = {"ipxact": component_xml}
#: Every format.
FORMATS = (*TEXTS, *COMPONENTS, *FOLDERS)
#: Formats in which nothing has the prefix of a unit.
NAMELESS = ("markdown", "json")


def check_format(form: str) -> None:
    """Raise ValueError unless it is one of `FORMATS`."""
    if form not in FORMATS:
        raise ValueError(f"the format must be one of {', '.join(FORMATS)}, not {form!r}")
