"""A map of the signals in a waveform: hierarchical Verilog names with their meanings, and a GTKWave save file.

Names come from the generated Verilog, meanings from the table of registers and from the ``Members`` sections of the
blocks' docstrings. Only names that are in the file are listed, because Yosys keeps one of several names of a net.
"""

from __future__ import annotations

import inspect
import io
import re
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from amaranth.hdl import Elaboratable, Fragment
from vcd.gtkw import GTKWSave

from rtl.bus.front_end import WrappedRLU
from rtl.spec.buses import FRONT_ENDS
from rtl.spec.registers import REGISTERS
from rtl.unit.core import RLUCore
from rtl.unit.register_file import CoreSignature, RegisterFile
from rtl.unit.top import RLU, UnitSignature

_MODULE = re.compile(r"^module (\S+) ?\(.*?^endmodule", re.MULTILINE | re.DOTALL)
_NET = re.compile(r"^  (?:wire|reg) (?:signed )?(?:\[(\d+):0\] )?(\S+?) ?(?:;| = )", re.MULTILINE)
_INSTANCE = re.compile(r"^  (\S+) +(\S+) +\($", re.MULTILINE)
_ALIAS = re.compile(r"\$\d+$")  # Yosys's second name of a net in a parent module

#: What the fields of the probe mean, by the first word of their names.
EVENTS = {
    "draw": "the sampler draws the two random numbers of a row",
    "action": "the sampler writes the action of a row",
    "write": "the updater writes a Q-value",
    "reward": "a reward that was computed appears",
}

#: Meanings of the signals of the buses.
_BUS_SIGNALS = {port.name: port.doc for front_end in FRONT_ENDS for port in front_end.ports}

#: Signatures, with the components that they are part of.
_SIGNATURES = {CoreSignature: (RegisterFile, RLUCore), UnitSignature: (RLU, WrappedRLU)}


class Entry(NamedTuple):
    """A signal.

    Attributes:
        path: names from the top module down, as a waveform file has them, without Verilog's backslashes.
        width: its bits.
        doc: what it means.
    """

    path: tuple[str, ...]
    width: int
    doc: str


def signal_map(top: Elaboratable, name: str, verilog: str) -> list[Entry]:
    """Documented signals of a design.

    Args:
        top: the component that the Verilog was made from.
        name: name of its module.
        verilog: the generated text.
    """
    modules = {_plain(found[1]): found[0] for found in _MODULE.finditer(verilog)}
    return list(_entries(Fragment.get(top, None), (name,), name, modules))


def table(entries: list[Entry]) -> str:
    """The map as Markdown, a table for every block."""
    lines = []
    for block in dict.fromkeys(entry.path[:-1] for entry in entries):
        lines += [f"## {'.'.join(block)}", "", "| signal | bits | meaning |", "| --- | --- | --- |"]
        lines += [f"| {e.path[-1]} | {e.width} | {e.doc} |" for e in entries if e.path[:-1] == block]
        lines.append("")
    return "\n".join(lines)


def gtkwave_save(entries: list[Entry], bench: str, instance: str) -> str:
    """Save file for GTKWave (Surfer reads it too): the entries in a group for every block.

    Args:
        entries: what to show.
        bench: name of the module at the top of the waveform file.
        instance: name of the design in it.
    """
    file = io.StringIO()
    save = GTKWSave(file)
    save.dumpfile(f"{bench}.vcd", abspath=False)
    for block in dict.fromkeys(entry.path[:-1] for entry in entries):
        with save.group(".".join(block), closed=len(block) > 1):
            for entry in entries:
                if entry.path[:-1] == block:
                    path = ".".join((bench, instance, *entry.path[1:-1], _escaped(entry.path[-1])))
                    save.trace(f"{path}[{entry.width - 1}:0]" if entry.width > 1 else path)
    # Without the two lines that name files and time of writing: they differ each time.
    return "".join(line for line in file.getvalue().splitlines(keepends=True) if not line.startswith("[*]"))


def _entries(fragment: Fragment, path: tuple[str, ...], module: str, modules: dict[str, str]) -> Iterator[Entry]:
    text = modules[module]
    nets = {_plain(name): int(msb or 0) + 1 for msb, name in _NET.findall(text)}
    docs: dict[str, str] = {}
    for origin in fragment.origins or ():
        docs |= port_docs(type(origin)) if len(path) == 1 else _all_docs(type(origin))
        if isinstance(origin, RegisterFile):
            docs |= {r.name.lower(): r.doc for r in REGISTERS}
    for net, width in nets.items():
        doc = _meaning(net, docs)
        if doc:
            yield Entry((*path, net), width, doc)
    instances = {_plain(name): _plain(kind) for kind, name in _INSTANCE.findall(text)}
    children = {name: child for child, name, *_ in fragment.subfragments}
    for name, kind in instances.items():
        child = children.get(name.split("$")[0])
        if child is not None and kind in modules:
            yield from _entries(child, (*path, name), kind, modules)


def port_docs(component: type) -> dict[str, str]:
    """Meaning of every port of a top module made from ``component``, those of its bus by `bus_signal`."""
    clock = {
        "clk": "clock, rising edge",
        "rst": "synchronous reset, active high",
        "rst_n": "synchronous reset, active low",
    }
    return clock | _all_docs(component) | {"irq": member_docs(RegisterFile)["irq"]}


def bus_signal(name: str) -> str:
    """Meaning of a port of a bus, empty for any other."""
    return _BUS_SIGNALS.get(name, "")


def _meaning(net: str, docs: dict[str, str]) -> str:
    """Meaning of a net, empty if unknown; a field of a structure is named as in ``probe.draw``."""
    if _ALIAS.search(net):
        return ""
    whole, _, field = net.partition(".")
    if whole == "probe" and field:
        event, _, part = field.partition("_")
        return f"with probe.{event}: {part}" if part else f"high while {EVENTS[event]}"
    return bus_signal(net) or docs.get(net, "")


def _all_docs(component: type) -> dict[str, str]:
    """Meaning of each port of a component, including those that a signature's docstring describes."""
    docs = member_docs(component)
    for signature, users in _SIGNATURES.items():
        if issubclass(component, users):
            docs |= member_docs(signature)
    return docs


def member_docs(component: type) -> dict[str, str]:
    """Meaning of each port of a component or a signature, from the ``Members`` section of its docstring."""
    section = (inspect.getdoc(component) or "").partition("\nMembers\n")[2]
    docs: dict[str, str] = {}
    for names, text in re.findall(r"^(\w[\w, ]*) : [^\n]*\n((?:    [^\n]*\n?)+)", section, re.MULTILINE):
        doc = " ".join(textwrap.dedent(text).split()).replace("``", "`")
        docs |= {name.strip(): doc for name in names.split(",")}
    return docs


def _escaped(name: str) -> str:
    """A signal's name as Icarus writes it into a waveform: with Verilog's backslash unless it is a plain word."""
    return name if re.fullmatch(r"\w+", name) else f"\\{name}"


def _plain(name: str) -> str:
    return name.removeprefix("\\")
