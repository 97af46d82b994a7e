"""Verilog of the RL unit as one self-contained file, with a JSON sidecar that describes it."""

from __future__ import annotations

import dataclasses
from typing import Any

from amaranth.back import verilog

from .params import RLUParams
from .register_file import BUS
from .registers import REGISTERS, WINDOWS
from .top import RLU, probe_layout

TOP = "rlu"


def generate(params: RLUParams) -> str:
    """The unit as Verilog; the same parameters give the same text.

    The top module is ``rlu``: ``clk``, synchronous active-high ``rst``, the ``bus__*`` signals,
    ``busy`` and ``probe``.
    """
    header = f"/* RL unit of rlu-cosim. Parameters: {params.to_json()} */\n"
    return header + verilog.convert(RLU(params), name=TOP, emit_src=False, strip_internal_attrs=True)


def sidecar(params: RLUParams) -> dict[str, Any]:
    """Ports, registers, parameters and trace fields of the generated file, ready for JSON."""
    layout = probe_layout(params)
    ports = [{"name": "clk", "direction": "in", "width": 1}, {"name": "rst", "direction": "in", "width": 1}]
    for name, member in BUS.members.items():
        # BUS is the master's view: its outputs are the unit's inputs.
        direction = "in" if member.flow.name == "Out" else "out"
        ports.append({"name": f"bus__{name}", "direction": direction, "width": _width(member.shape)})
    ports.append({"name": "busy", "direction": "out", "width": 1})
    ports.append({"name": "probe", "direction": "out", "width": layout.size})
    return {
        "module": TOP,
        "parameters": dataclasses.asdict(params),
        "parameters_sha256": params.digest,
        "ports": ports,
        "registers": [
            {
                "name": r.name,
                "address": r.offset,
                "access": r.access,
                "width": r.width(params),
                "reset": r.reset_value(params),
                "minimum": r.limits(params)[0],
                "maximum": r.limits(params)[1],
                "fields": [dataclasses.asdict(f) for f in r.fields],
                "description": r.doc,
            }
            for r in REGISTERS
        ],
        "windows": [
            {"name": w.name, "address": w.offset, "words": w.words(params), "description": w.doc} for w in WINDOWS
        ],
        "probe": {name: {"lsb": f.offset, "width": f.width} for name, f in layout},
    }


def _width(shape: Any) -> int:
    return shape if isinstance(shape, int) else shape.width


#: Waivers for ``verilator --lint-only -Wall``, a reason a line: what Amaranth's emission inherently causes.
WAIVERS = """\
`verilator_config
// Yosys writes the default before the case, not into it.
lint_off -rule CASEINCOMPLETE
// A signal's reset value is written as its initial value too, beside the process that drives it.
lint_off -rule PROCASSINIT
// Fields of structures and arrays are named for waveforms also where only the whole is used.
lint_off -rule UNUSEDSIGNAL
// Amaranth's operators widen and cut by its own rules; Yosys leaves that to Verilog's, which agree.
lint_off -rule WIDTHEXPAND
lint_off -rule WIDTHTRUNC
// A range check of a full-size unit compares with a number the signal cannot exceed.
lint_off -rule CMPCONST
lint_off -rule UNSIGNED
// One file holds all modules.
lint_off -rule DECLFILENAME
"""
