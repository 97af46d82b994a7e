"""The register description as constants for C and Verilog, as CMSIS-SVD, and as plain data.

Everything comes from the table in ``registers.py``, for one set of parameters.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple
from xml.etree import ElementTree

from rtl.spec.buses import ADDRESS_WIDTH, DATA_WIDTH
from rtl.spec.params import RLUParams
from rtl.spec.registers import (
    MEMORIES,
    REGISTERS,
    VERSION_VALUE,
    WINDOWS,
    Access,
    Field,
    Register,
    Window,
    field_of,
)

_SVD_ACCESS = {
    Access.RO: "read-only",
    Access.RW: "read-write",
    Access.WO: "write-only",
    Access.W1C: "read-write",
}


#: Names of the parts of a word's number in a memory, by the parameter that says how many there are.
_PARTS = {"states": "ROW", "points": "POINT", "episodes": "EPISODE"}


class Constant(NamedTuple):
    """A named number of the register map.

    Attributes:
        name: upper-case name with the prefix ``RLU_``.
        value: the number; negative for the smallest value of a signed register.
        hexadecimal: whether it is written in hexadecimal.
        doc: comment, empty for none.
    """

    name: str
    value: int
    hexadecimal: bool = False
    doc: str = ""


def has_range(register: Register) -> bool:
    """Whether the register is a number that can be written; then it has a smallest and a largest value."""
    return register.access is Access.RW and register.number is not None


def constants(params: RLUParams) -> Iterator[list[Constant]]:
    """Every constant of the register map, a list for each parameter set, register, window and memory."""
    numbers = {k: v for k, v in dataclasses.asdict(params).items() if isinstance(v, int)}
    yield [
        Constant(f"RLU_PARAM_{name.upper()}", value, doc="parameters of this unit" if not i else "")
        for i, (name, value) in enumerate(numbers.items())
    ]
    for register in REGISTERS:
        prefix = f"RLU_{register.name}"
        group = [Constant(f"{prefix}_OFFSET", register.offset, True, f"{register.access}: {register.doc}")]
        if register.access.readable:
            group.append(Constant(f"{prefix}_RESET", register.reset_value(params), True))
        if has_range(register):
            low, high = register.limits(params)
            group += [Constant(f"{prefix}_MIN", low), Constant(f"{prefix}_MAX", high, high >= 1 << 31)]
        yield group + list(_field_constants(prefix, register.fields))
    for window in WINDOWS:
        prefix = f"RLU_{window.name}"
        yield [
            Constant(f"{prefix}_OFFSET", window.offset, True, f"{window.access}: {window.doc}"),
            Constant(f"{prefix}_ENTRIES", window.strides(params)),
            Constant(f"{prefix}_STRIDE", window.stride, doc="bytes from entry to entry"),
            Constant(f"{prefix}_WORDS", window.used_words(params), doc="32-bit words of an entry"),
            *_field_constants(prefix, window.fields(params)),
        ]
    for number, memory in enumerate(MEMORIES):
        prefix, first = f"RLU_MEMORY_{memory.name.upper()}", number << field_of("MEMORY_ADDRESS", "memory").lsb
        parts = zip(memory.bounds(params), memory.parts, strict=True)
        yield [
            Constant(prefix, first, True, f"MEMORY_ADDRESS of the first word of the {memory.name}"),
            *(Constant(f"{prefix}_{_PARTS[str(of)]}_SHIFT", lsb) for (lsb, _, _), (_, of) in parts if lsb),
        ]


def _field_constants(prefix: str, fields: tuple[Field, ...]) -> Iterator[Constant]:
    for field in fields:
        name = f"{prefix}_{field.name.upper()}"
        yield Constant(f"{name}_MASK", field.mask, True, field.text)
        yield Constant(f"{name}_SHIFT", field.lsb)


def c_header(params: RLUParams) -> str:
    """``rlu_regs.h``: offsets, reset values, ranges, masks and shifts as C macros, for C11 and later and C++."""

    def literal(constant: Constant) -> str:
        if constant.value < 0:
            return f"({constant.value})"
        # Limits are compared with signed values too; masks and offsets are not.
        return f"0x{constant.value:X}u" if constant.hexadecimal else str(constant.value)

    lines = [f"/* {title(params)} */", "#ifndef RLU_REGS_H", "#define RLU_REGS_H"]
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

    lines = [f"// {title(params)}", "`ifndef RLU_REGS_VH", "`define RLU_REGS_VH"]
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
        description=title(params),
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
            resetMask="0xFFFFFFFF" if register.access.readable else "0x0",
        )
        if register.signed:
            _add(element, dataType="int32_t")
        if register.access is Access.W1C:
            _add(element, modifiedWriteValues="oneToClear")
        low, high = register.limits(params)
        if has_range(register) and low >= 0:  # SVD knows no negative numbers
            span = ElementTree.SubElement(ElementTree.SubElement(element, "writeConstraint"), "range")
            _add(span, minimum=low, maximum=high)
        _add_fields(element, [(f, register.access_of(f, params)) for f in named_fields(register, params)])
    for window in WINDOWS:
        _add_window(registers, window, params)
    ElementTree.indent(device)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(device, encoding="unicode") + "\n"


def named_fields(register: Register, params: RLUParams) -> tuple[Field, ...]:
    """The register's fields; a number gets one called ``value``, because some tools refuse a register without fields.

    Signed numbers are read and written sign-extended, so their field is the whole word.
    """
    width = DATA_WIDTH if register.signed else register.width(params)
    return register.fields or (Field(name="value", lsb=0, width=width, doc=register.doc),)


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
            "fields": [_field(f, params) | {"access": r.access_of(f, params)} for f in r.fields],
            "description": r.doc,
        }
        for r in REGISTERS
    ]
    windows = [
        {
            "name": w.name,
            "address": w.offset,
            "words": w.words(params),
            "entries": w.strides(params),
            "stride": w.stride,
            "words_per_entry": w.used_words(params),
            "fields": [_field(f, params) for f in w.fields(params)],
            "description": w.doc,
        }
        for w in WINDOWS
    ]
    return {"registers": registers, "windows": windows}


def _field(field: Field, params: RLUParams) -> dict[str, Any]:
    return {
        "name": field.name,
        "lsb": field.lsb,
        "width": field.width,
        "doc": field.text,
        "needs": field.needs,
        "reset": field.reset_value(params),
    }


def _add_window(registers: ElementTree.Element, window: Window, params: RLUParams) -> None:
    """One array of registers, or of clusters if a row is more than a word."""
    parent, place = registers, window.offset
    entries, words = window.strides(params), window.used_words(params)
    if window.words_per_row > 1:
        parent, place = ElementTree.SubElement(registers, "cluster"), 0
        _add(parent, dim=entries, dimIncrement=window.stride, name=f"{window.name}[%s]", description=window.doc)
        _add(parent, addressOffset=f"0x{window.offset:X}")
    element = ElementTree.SubElement(parent, "register")
    _add(
        element,
        dim=words if parent is not registers else entries,
        dimIncrement=4,
        name="WORD[%s]" if parent is not registers else f"{window.name}[%s]",
        description=window.doc,
        addressOffset=f"0x{place:X}",
        access=_SVD_ACCESS[window.access],
        resetMask="0x0",  # memories are not reset
    )
    _add_fields(element, [(f, window.access) for f in window.fields(params)])


def _add_fields(register: ElementTree.Element, fields: list[tuple[Field, Access]]) -> None:
    parent = ElementTree.SubElement(register, "fields")
    for field, access in fields:
        element = ElementTree.SubElement(parent, "field")
        _add(element, name=field.name, description=field.text, bitOffset=field.lsb, bitWidth=field.width)
        _add(element, access=_SVD_ACCESS[access])
        if access is Access.W1C:
            _add(element, modifiedWriteValues="oneToClear")


def _add(parent: ElementTree.Element, **texts: str | int) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = str(text)


def title(params: RLUParams) -> str:
    """What an export describes, in a line."""
    return f"Registers of the RL unit of rlu-cosim, {params.states} states x {params.actions} actions"
