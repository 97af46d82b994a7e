"""The unit as an IP-XACT component (IEEE 1685-2014): bus interface, memory map, ports and files.

Elements stand in the order that the standard's schema wants.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

from rtl.spec.buses import ADDRESS_WIDTH, DATA_WIDTH, FrontEnd, front_end
from rtl.spec.names import DEFAULT
from rtl.spec.params import RLUParams
from rtl.spec.register_exports import has_range, named_fields, title
from rtl.spec.registers import REGISTERS, WINDOWS, Access, Field, Window

_SCHEMA = "http://www.accellera.org/XMLSchema/IPXACT/1685-2014"
_ACCESS = {Access.RO: "read-only", Access.RW: "read-write", Access.WO: "write-only", Access.W1C: "read-write"}
_MAP, _FILES, _INSTANTIATION = "registers", "rtl", "verilog"


class Definition(NamedTuple):
    """Who has defined a bus for IP-XACT, and how its signals are called there.

    Attributes:
        vendor: of the bus definition and its abstraction.
        library: likewise.
        name: of the bus definition.
        abstraction: name of its abstraction for RTL.
        version: of both.
        prefix: what the ports' names begin with; the rest in upper case is the signal's name.
        clock: signal that ``clk`` is.
        reset: signal that ``rst`` is; empty if the bus's own is active low, which ``rst`` is not.
        reset_low: signal that ``rst_n`` is; empty if the bus's own is active high.
        signals: names of the signals that are not called like the rest of the port's name.
    """

    vendor: str
    library: str
    name: str
    abstraction: str
    version: str
    prefix: str
    clock: str
    reset: str = ""
    reset_low: str = ""
    signals: Mapping[str, str] = {}


#: By the name of the bus. The unit's own bus has none: nobody else knows it.
DEFINITIONS = {
    "axi4lite": Definition(
        "amba.com", "AMBA4", "AXI4-Lite", "AXI4-Lite_rtl", "r0p0_0", "s_axi_", "ACLK", reset_low="ARESETn"
    ),
    "apb": Definition(
        "amba.com", "AMBA4", "APB4", "APB4_rtl", "r0p0_0", "s_apb_", "PCLK", reset_low="PRESETn",
        signals={"s_apb_psel": "PSELx"},
    ),
    "wishbone": Definition(
        "opencores.org", "interface", "wishbone", "wishbone_rtl", "b4", "wb_", "CLK_I", "RST_I",
        signals={"wb_dat_w": "DAT_I", "wb_dat_r": "DAT_O"},
    ),
}  # fmt: skip


def component_xml(params: RLUParams, bus: str, ports: Sequence[Mapping[str, Any]], name: str = DEFAULT) -> str:
    """The component's XML.

    Args:
        params: what the unit looks like.
        bus: one of `rtl.spec.buses`.
        ports: of the top module, as `rtl.verilog.ports` gives them.
        name: prefix of the names: of the top module, which is the component and whose file is ``<top>.v``, and of the
            registers.

    Raises:
        ValueError: for an unknown bus.
    """
    record = front_end(bus)
    top = record.module(name)
    ElementTree.register_namespace("ipxact", _SCHEMA)
    root = ElementTree.Element(_tag("component"))
    _add(root, vendor="rlu-cosim", library="ip", name=top, version=importlib.metadata.version("rlu-cosim"))
    if bus in DEFINITIONS:
        _bus_interface(_sub(root, "busInterfaces"), record, DEFINITIONS[bus], {port["name"] for port in ports})
    _memory_map(_sub(root, "memoryMaps"), params, name)
    _model(_sub(root, "model"), top, ports)
    _file_set(_sub(root, "fileSets"), f"{top}.v")
    _add(root, description=f"Reinforcement-learning unit with {record.title}. {title(params)}.")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def signal_map(record: FrontEnd, definition: Definition, ports: Collection[str]) -> dict[str, str]:
    """The bus's name of a signal, by the name of the port; the clock is among them, and a reset of the bus's level."""
    suffix = {"in": "_I", "out": "_O"} if record.name == "wishbone" else {"in": "", "out": ""}
    resets = {"rst": definition.reset, "rst_n": definition.reset_low}
    found = {"clk": definition.clock, **{port: name for port, name in resets.items() if name and port in ports}}
    for port in record.ports:
        name = port.name.removeprefix(definition.prefix).upper() + suffix[port.direction]
        found[port.name] = definition.signals.get(port.name, name)
    return found


def _bus_interface(
    parent: ElementTree.Element, record: FrontEnd, definition: Definition, ports: Collection[str]
) -> None:
    interface = _sub(parent, "busInterface")
    _add(interface, name=definition.prefix.rstrip("_"), description=record.summary)
    _definition(interface, "busType", definition, definition.name)
    abstraction = _sub(_sub(interface, "abstractionTypes"), "abstractionType")
    _definition(abstraction, "abstractionRef", definition, definition.abstraction)
    maps = _sub(abstraction, "portMaps")
    for port, signal in signal_map(record, definition, ports).items():
        pair = _sub(maps, "portMap")
        _add(_sub(pair, "logicalPort"), name=signal)
        _add(_sub(pair, "physicalPort"), name=port)
    _sub(_sub(interface, "slave"), "memoryMapRef", memoryMapRef=_MAP)


def _definition(parent: ElementTree.Element, tag: str, definition: Definition, name: str) -> None:
    _sub(
        parent, tag, vendor=definition.vendor, library=definition.library, name=name, version=definition.version
    )  # fmt: skip


def _memory_map(parent: ElementTree.Element, params: RLUParams, name: str) -> None:
    memory_map = _sub(parent, "memoryMap")
    _add(memory_map, name=_MAP)
    block = _sub(memory_map, "addressBlock")
    _add(block, name=name.upper(), description=title(params), baseAddress=_hex(0), range=_hex(1 << ADDRESS_WIDTH))
    _add(block, width=DATA_WIDTH, usage="register", access="read-write")
    for register in REGISTERS:
        element = _sub(block, "register")
        _add(element, name=register.name, description=register.doc, addressOffset=_hex(register.offset))
        volatile = register.external or register.access is Access.W1C
        _add(element, size=DATA_WIDTH, volatile=_boolean(volatile), access=_ACCESS[register.access])
        low, high = register.limits(params)
        # The schema's limits are unsigned.
        limits = (low, high) if has_range(register) and low >= 0 else None
        for field in named_fields(register, params):
            reset = register.reset_value(params) >> field.lsb & (field.mask >> field.lsb)
            access = register.access_of(field, params)
            _field(element, field, access, reset if register.access.readable else None, limits)
    for window in WINDOWS:
        _window(block, window, params)
    _add(memory_map, addressUnitBits=8)


def _window(block: ElementTree.Element, window: Window, params: RLUParams) -> None:
    """An array of registers, or of register files if a row is more than a word."""
    parent, name, place, count = block, window.name, window.offset, window.strides(params)
    if window.words_per_row > 1:
        parent = _sub(block, "registerFile")
        _add(parent, name=name, description=window.doc, dim=count, addressOffset=_hex(place))
        _add(parent, range=_hex(window.stride))
        name, place, count = "WORD", 0, window.used_words(params)
    element = _sub(parent, "register")
    _add(element, name=name, description=window.doc, dim=count, addressOffset=_hex(place))
    _add(element, size=DATA_WIDTH, volatile="true", access=_ACCESS[window.access])
    for field in window.fields(params):
        _field(element, field, window.access, None, None)  # memories are not reset


def _field(
    register: ElementTree.Element, field: Field, access: Access, reset: int | None, limits: tuple[int, int] | None
) -> None:
    element = _sub(register, "field")
    _add(element, name=field.name, description=field.text, bitOffset=field.lsb)
    if reset is not None:
        _add(_sub(_sub(element, "resets"), "reset"), value=_hex(reset))
    _add(element, bitWidth=field.width, access=_ACCESS[access])
    if access is Access.W1C:
        _add(element, modifiedWriteValue="oneToClear")
    if limits is not None:
        _add(_sub(element, "writeValueConstraint"), minimum=_hex(limits[0]), maximum=_hex(limits[1]))


def _model(model: ElementTree.Element, top: str, ports: Sequence[Mapping[str, Any]]) -> None:
    view = _sub(_sub(model, "views"), "view")
    _add(view, name=_FILES, envIdentifier="verilog:*:*", componentInstantiationRef=_INSTANTIATION)
    instantiation = _sub(_sub(model, "instantiations"), "componentInstantiation")
    _add(instantiation, name=_INSTANTIATION, language="verilog", moduleName=top)
    _add(_sub(instantiation, "fileSetRef"), localName=_FILES)
    listed = _sub(model, "ports")
    for port in ports:
        element = _sub(listed, "port")
        _add(element, name=port["name"])
        wire = _sub(element, "wire")
        _add(wire, direction=port["direction"])
        if port["width"] > 1:
            _add(_sub(_sub(wire, "vectors"), "vector"), left=port["width"] - 1, right=0)


def _file_set(parent: ElementTree.Element, name: str) -> None:
    file_set = _sub(parent, "fileSet")
    _add(file_set, name=_FILES)
    _add(_sub(file_set, "file"), name=name, fileType="verilogSource")


def _hex(value: int) -> str:
    return f"'h{value:X}"


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _tag(name: str) -> str:
    return f"{{{_SCHEMA}}}{name}"


def _sub(parent: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, _tag(tag), attributes)


def _add(parent: ElementTree.Element, **texts: str | int) -> None:
    for name, text in texts.items():
        _sub(parent, name).text = str(text)
