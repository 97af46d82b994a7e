"""The register description for other tools: constants for C and Verilog, CMSIS-SVD, and JSON.

Everything comes from the table in ``registers.py`` for one set of parameters; nothing is written down twice.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from xml.etree import ElementTree

from rtl.spec.buses import ADDRESS_WIDTH, DATA_WIDTH
from rtl.spec.params import RLUParams
from rtl.spec.registers import (
    REGISTERS,
    VERSION_VALUE,
    WINDOWS,
    Field,
    Register,
    Window,
    markdown,
)

_SVD_ACCESS = {"ro": "read-only", "rw": "read-write", "wo": "write-only", "w1c": "read-write"}


class Shape(NamedTuple):
    """How a window is laid out.

    Attributes:
        entries: how often the pattern repeats.
        stride: bytes from one entry to the next.
        words: words of an entry that exist; the rest of the stride is a gap.
        fields: what the bits of a word are.
    """

    entries: int
    stride: int
    words: int
    fields: tuple[Field, ...]


class Constant(NamedTuple):
    """A named number of the register map.

    Attributes:
        name: upper-case name with the prefix ``RLU_``.
        value: the number; negative for the smallest value of a signed register.
        hexadecimal: whether it reads better so.
        doc: comment, empty for none.
    """

    name: str
    value: int
    hexadecimal: bool = False
    doc: str = ""


def window_shape(window: Window, params: RLUParams) -> Shape:
    """Entries, stride, words and fields of a memory window."""
    if window.name == "POLICY":
        actions = tuple(Field(f"row{i}", 4 * i, 4, f"action of row 8*k + {i} in word k") for i in range(8))
        return Shape(window.words(params), 4, 1, actions)
    if window.name == "ACTION_COUNT":
        return Shape(params.states, 4, 1, (Field("count", 0, 5, f"number of actions, 1..{params.actions}"),))
    values = (
        Field("even", 0, 16, "Q-value of action 2*k in word k of the row, sign-extended"),
        Field("odd", 16, 16, "Q-value of action 2*k + 1, sign-extended"),
    )
    return Shape(params.states, 32, (params.actions + 1) // 2, values)


def field_access(register: Register, field: Field, params: RLUParams) -> str:
    """Access to a field: its register's, but read-only where the table says so, or the unit has no such field."""
    absent = field.episodic and not params.episodes
    return "ro" if absent or field.doc.endswith("(read-only)") else register.access


def has_range(register: Register) -> bool:
    """Whether the register is a number that is written, so that it has a smallest and a largest value."""
    return register.access == "rw" and not register.fields


def constants(params: RLUParams) -> Iterator[list[Constant]]:
    """Every constant of the register map, a list for each parameter set, register and window."""
    numbers = {k: v for k, v in dataclasses.asdict(params).items() if isinstance(v, int)}
    yield [
        Constant(f"RLU_PARAM_{name.upper()}", value, doc="parameters of this unit" if not i else "")
        for i, (name, value) in enumerate(numbers.items())
    ]
    for register in REGISTERS:
        prefix = f"RLU_{register.name}"
        group = [Constant(f"{prefix}_OFFSET", register.offset, True, f"{register.access}: {register.doc}")]
        if register.access != "wo":
            group.append(Constant(f"{prefix}_RESET", register.reset_value(params), True))
        if has_range(register):
            low, high = register.limits(params)
            group += [Constant(f"{prefix}_MIN", low), Constant(f"{prefix}_MAX", high, high >= 1 << 31)]
        yield group + list(_field_constants(prefix, register.fields))
    for window in WINDOWS:
        prefix, shape = f"RLU_{window.name}", window_shape(window, params)
        yield [
            Constant(f"{prefix}_OFFSET", window.offset, True, f"rw: {window.doc}"),
            Constant(f"{prefix}_ENTRIES", shape.entries),
            Constant(f"{prefix}_STRIDE", shape.stride, doc="bytes from entry to entry"),
            Constant(f"{prefix}_WORDS", shape.words, doc="32-bit words of an entry"),
            *_field_constants(prefix, shape.fields),
        ]


def _field_constants(prefix: str, fields: tuple[Field, ...]) -> Iterator[Constant]:
    for field in fields:
        name = f"{prefix}_{field.name.upper()}"
        yield Constant(f"{name}_MASK", field.mask, True, field.doc)
        yield Constant(f"{name}_SHIFT", field.lsb)


def c_header(params: RLUParams) -> str:
    """``rlu_regs.h``: offsets, reset values, ranges, masks and shifts as C macros, for C11 and later and C++."""

    def literal(constant: Constant) -> str:
        if constant.value < 0:
            return f"({constant.value})"
        # Limits are compared with signed values too, masks and offsets never are.
        return f"0x{constant.value:X}u" if constant.hexadecimal else str(constant.value)

    lines = [f"/* {_title(params)} */", "#ifndef RLU_REGS_H", "#define RLU_REGS_H"]
    for group in constants(params):
        lines.append("")
        for constant in group:
            lines += [f"/* {line} */" for line in textwrap.wrap(constant.doc, 110)]
            lines.append(f"#define {constant.name} {literal(constant)}")
    return "\n".join([*lines, "", "#endif /* RLU_REGS_H */", ""])


def verilog_header(params: RLUParams) -> str:
    """``rlu_regs.vh``: the same constants as Verilog macros, 32 bits each."""

    def literal(constant: Constant) -> str:
        return f"32'h{constant.value & 0xFFFF_FFFF:X}" if constant.hexadecimal else f"({constant.value})"

    lines = [f"// {_title(params)}", "`ifndef RLU_REGS_VH", "`define RLU_REGS_VH"]
    for group in constants(params):
        lines.append("")
        for constant in group:
            lines += [f"// {line}" for line in textwrap.wrap(constant.doc, 110)]
            lines.append(f"`define {constant.name} {literal(constant)}")
    return "\n".join([*lines, "", "`endif", ""])


def svd(params: RLUParams, *, base: int = 0) -> str:
    """CMSIS-SVD 1.3 of a device with the unit as its only peripheral, ``RLU`` at address ``base``."""
    device = ElementTree.Element("device", schemaVersion="1.3")
    _add(
        device,
        name="RLU",
        version=f"{VERSION_VALUE >> 16}.{VERSION_VALUE & 0xFFFF}",
        description=_title(params),
        addressUnitBits=8,
        width=DATA_WIDTH,
        size=DATA_WIDTH,
    )
    peripherals = ElementTree.SubElement(device, "peripherals")
    peripheral = ElementTree.SubElement(peripherals, "peripheral")
    _add(peripheral, name="RLU", description="Reinforcement-learning unit", baseAddress=f"0x{base:X}")
    block = ElementTree.SubElement(peripheral, "addressBlock")
    _add(block, offset="0x0", size=f"0x{1 << ADDRESS_WIDTH:X}", usage="registers")
    registers = ElementTree.SubElement(peripheral, "registers")
    for register in REGISTERS:
        element = ElementTree.SubElement(registers, "register")
        _add(
            element,
            name=register.name,
            description=register.doc,
            addressOffset=f"0x{register.offset:X}",
            access=_SVD_ACCESS[register.access],
            resetValue=f"0x{register.reset_value(params):X}",
            # A write-only register reads as 0, which says nothing about it.
            resetMask="0x0" if register.access == "wo" else "0xFFFFFFFF",
        )
        if register.kind == "q":
            _add(element, dataType="int32_t")
        if register.access == "w1c":
            _add(element, modifiedWriteValues="oneToClear")
        low, high = register.limits(params)
        if has_range(register) and low >= 0:  # SVD knows no negative numbers
            span = ElementTree.SubElement(ElementTree.SubElement(element, "writeConstraint"), "range")
            _add(span, minimum=low, maximum=high)
        _add_fields(element, [(f, field_access(register, f, params)) for f in _svd_fields(register, params)])
    for window in WINDOWS:
        _add_window(registers, window, window_shape(window, params))
    ElementTree.indent(device)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(device, encoding="unicode") + "\n"


def _svd_fields(register: Register, params: RLUParams) -> tuple[Field, ...]:
    """The register's fields; one ``value`` for a number, as some tools refuse a register without any.

    Q-values are read and written sign-extended: theirs is the whole word.
    """
    width = DATA_WIDTH if register.kind == "q" else register.width(params)
    return register.fields or (Field("value", 0, width, register.doc),)


def description(params: RLUParams) -> dict[str, Any]:
    """Registers and windows as plain dictionaries, ready for JSON."""
    registers = [
        {
            "name": r.name,
            "address": r.offset,
            "access": r.access,
            "width": r.width(params),
            "reset": r.reset_value(params),
            "minimum": r.limits(params)[0],
            "maximum": r.limits(params)[1],
            "fields": [dataclasses.asdict(f) | {"access": field_access(r, f, params)} for f in r.fields],
            "description": r.doc,
        }
        for r in REGISTERS
    ]
    windows = []
    for window in WINDOWS:
        shape = window_shape(window, params)
        windows.append(
            {
                "name": window.name,
                "address": window.offset,
                "words": window.words(params),
                "entries": shape.entries,
                "stride": shape.stride,
                "words_per_entry": shape.words,
                "fields": [dataclasses.asdict(f) for f in shape.fields],
                "description": window.doc,
            }
        )
    return {"registers": registers, "windows": windows}


#: Every export, by its name on the command line.
FORMATS: dict[str, Callable[[RLUParams], str]] = {
    "c": c_header,
    "verilog": verilog_header,
    "svd": svd,
    "markdown": markdown,
    "json": lambda params: json.dumps(description(params), indent=2) + "\n",
}


def exported(params: RLUParams, form: str) -> str:
    """The register map in one of `FORMATS`; ValueError for another."""
    if form not in FORMATS:
        raise ValueError(f"the format must be one of {', '.join(FORMATS)}, not {form!r}")
    return FORMATS[form](params)


def _add_window(registers: ElementTree.Element, window: Window, shape: Shape) -> None:
    """One array of registers; of clusters where a row is more than a word."""
    parent, place = registers, window.offset
    if shape.stride > 4:
        parent, place = ElementTree.SubElement(registers, "cluster"), 0
        _add(parent, dim=shape.entries, dimIncrement=shape.stride, name=f"{window.name}[%s]", description=window.doc)
        _add(parent, addressOffset=f"0x{window.offset:X}")
    element = ElementTree.SubElement(parent, "register")
    _add(
        element,
        dim=shape.words if parent is not registers else shape.entries,
        dimIncrement=4,
        name="WORD[%s]" if parent is not registers else f"{window.name}[%s]",
        description=window.doc,
        addressOffset=f"0x{place:X}",
        access="read-write",
        resetMask="0x0",  # memories are not reset
    )
    _add_fields(element, [(f, "rw") for f in shape.fields])


def _add_fields(register: ElementTree.Element, fields: list[tuple[Field, str]]) -> None:
    parent = ElementTree.SubElement(register, "fields")
    for field, access in fields:
        element = ElementTree.SubElement(parent, "field")
        _add(element, name=field.name, description=field.doc, bitOffset=field.lsb, bitWidth=field.width)
        _add(element, access=_SVD_ACCESS[access])
        if access == "w1c":
            _add(element, modifiedWriteValues="oneToClear")


def _add(parent: ElementTree.Element, **texts: str | int) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = str(text)


def _title(params: RLUParams) -> str:
    return f"Registers of the RL unit of rlu-cosim, {params.states} states x {params.actions} actions"
