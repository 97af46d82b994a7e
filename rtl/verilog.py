# amaranth: UnusedElaboratable=no
"""Verilog of the RL unit as one self-contained file, with a JSON sidecar that describes it."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
from collections.abc import Callable
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import Shape
from amaranth.lib import wiring

from rtl.files import cache_dir, tool_home
from rtl.primitives.chosen_sum import ECP5
from rtl.primitives.reset import ActiveLow
from rtl.primitives.sram import Sram
from rtl.spec.buses import front_end
from rtl.spec.names import DEFAULT, checked_name
from rtl.spec.params import RLUParams
from rtl.spec.register_exports import description
from rtl.unit.top import probe_layout

#: Yosys wakes every ``always @*`` at time 0 by a variable's initial value. In SystemVerilog (``iverilog -g2012``), an
#: initial value at the declaration is no event: combinational logic would stay unknown until an input changes.
_WAKE = re.compile(r"^(  reg( \\\$auto\$verilog_backend\S+ )) ?= 0;$", re.MULTILINE)


def component(params: RLUParams, bus: str = "none") -> wiring.Component:
    """The unit behind ``bus``; ValueError for an unknown one."""
    module, _, name = front_end(bus).component.rpartition(".")
    return getattr(importlib.import_module(module), name)(params)


#: Technologies whose cells the Verilog may name, and the platform that Amaranth gets for each, by the unit's prefix.
TECHNOLOGIES: dict[str, Callable[[str], object]] = {
    "generic": lambda prefix: None,
    "ecp5": lambda prefix: ECP5(),
    "sram": lambda prefix: Sram(f"{prefix}_sram"),
}

#: The reset port of each kind of reset.
RESETS = {"active-high": "rst", "active-low": "rst_n"}


def reset_port(reset: str) -> str:
    """The reset port of a kind of reset; ValueError for an unknown kind."""
    if reset not in RESETS:
        raise ValueError(f"no reset {reset!r}; there are: {', '.join(RESETS)}")
    return RESETS[reset]


def generate(
    params: RLUParams,
    bus: str = "none",
    technology: str = "generic",
    *,
    reset: str = "active-high",
    name: str = DEFAULT,
) -> str:
    """The unit as Verilog; the same arguments give the same text.

    Args:
        params: what the unit looks like.
        bus: one of `rtl.spec.buses`. Its record names the top module.
        technology: ``generic`` for plain Verilog. With ``ecp5`` the Verilog names Lattice ECP5's carry cells where that
            makes it faster (see `ChosenSum`); with ``sram`` each memory is an instance of the module ``<name>_sram``
            (see `Sram`).
        reset: ``active-high`` or ``active-low``, see `RESETS`.
        name: prefix of the modules' names.

    The top module has ``clk``, the synchronous reset, the signals of the bus, ``busy``, ``irq`` and ``probe``.

    Raises:
        ValueError: for an unknown bus, technology or reset, or an impossible name.
    """
    header = f"/* RL unit of rlu-cosim. Bus: {bus}. Parameters: {params.to_json()} */\n"
    unit = component(params, bus)
    if reset_port(reset) == "rst_n":
        unit = ActiveLow(unit)
    return header + emitted(unit, front_end(bus).module(checked_name(name)), technology, prefix=name)


def converted(top: wiring.Component, **options: Any) -> str:
    """Amaranth's Verilog of a component, made with Amaranth's own Yosys: one on PATH may be of any version."""
    before = dict(os.environ)
    os.environ.update({"AMARANTH_USE_YOSYS": "builtin", **tool_home(cache_dir())})
    try:
        return verilog.convert(top, emit_src=False, strip_internal_attrs=True, **options)
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def emitted(top: wiring.Component, name: str, technology: str = "generic", *, prefix: str = DEFAULT) -> str:
    """Any component as Verilog, in a module called ``name``; ``prefix`` is that of a technology's own modules."""
    if technology not in TECHNOLOGIES:
        raise ValueError(f"no technology {technology!r}; there are: {', '.join(TECHNOLOGIES)}")
    text = converted(top, name=name, platform=TECHNOLOGIES[technology](prefix))
    return _WAKE.sub(r"\1;\n  initial\2= 0;", text)


def ports(params: RLUParams, bus: str = "none", *, reset: str = "active-high") -> list[dict[str, Any]]:
    """Name, direction (``in`` or ``out``) and width of the top module's ports, in no particular order."""
    top = component(params, bus)
    listed = [{"name": name, "direction": "in", "width": 1} for name in ("clk", reset_port(reset))]
    for path, member, _ in top.signature.flatten(top):
        width = Shape.cast(member.shape).width
        listed.append({"name": "__".join(map(str, path)), "direction": member.flow.name.lower(), "width": width})
    return listed


def sidecar(params: RLUParams, bus: str = "none", *, reset: str = "active-high", name: str = DEFAULT) -> dict[str, Any]:
    """Ports, registers, parameters and trace fields of the generated file, ready for JSON."""
    layout = probe_layout(params)
    return {
        "module": front_end(bus).module(checked_name(name)),
        "bus": bus,
        "parameters": dataclasses.asdict(params),
        "parameters_sha256": params.digest,
        "ports": ports(params, bus, reset=reset),
        **description(params),
        "probe": {name: {"lsb": f.offset, "width": f.width} for name, f in layout},
    }


#: Warnings of ``verilator --lint-only -Wall`` that Amaranth's output always causes: a reason, and a rule. Only rules
#: that every Verilator knows, because an older one refuses a newer rule; where there is none, a message.
_WAIVED = (
    ("Yosys writes the default before the case, not into it.", "-rule CASEINCOMPLETE", ""),
    (
        "A signal's reset value is also written as its initial value, besides the process that drives it.",
        "",
        ' -match "*declaration with initial value*"',
    ),
    ("Fields of structures and arrays are named for waveforms even where only the whole is used.", "-rule UNUSED", ""),
    (
        "Amaranth's operators widen and cut by its own rules; Yosys relies on Verilog's, which agree.",
        "-rule WIDTH",
        "",
    ),
    ("A range check of a full-size unit compares with a number the signal cannot exceed.", "-rule CMPCONST", ""),
    ("The same.", "-rule UNSIGNED", ""),
    ("One file holds all modules.", "-rule DECLFILENAME", ""),
    ("A memory is called like the instance of the module that holds nothing else.", "-rule VARHIDDEN", ""),
)


def waivers(name: str) -> str:
    """Waivers for Verilator that apply to Verilog files of this name, in any folder, and to no other file."""
    pattern = re.sub(r"[^\w. +-]", "?", name)  # a wildcard for characters that have a meaning in a string or a pattern
    lines = ["`verilator_config"]
    for reason, rule, match in _WAIVED:
        rules = f"lint_off {rule}".rstrip()
        lines += [f"// {reason}", *(f'{rules} -file "{folder}{pattern}"{match}' for folder in ("", "*/"))]
    return "\n".join([*lines, ""])
