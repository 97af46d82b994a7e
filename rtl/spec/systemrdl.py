"""The register map as SystemRDL 2.0 (Accellera), from which PeakRDL and other tools make their own formats."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from rtl.spec.names import DEFAULT
from rtl.spec.params import RLUParams
from rtl.spec.register_exports import named_fields, title
from rtl.spec.registers import REGISTERS, WINDOWS, Access, Field, Register, Window

#: Methods of UVM's ``uvm_reg``, which a field of that name would hide in the model that is made of this text.
_UVM_METHODS = ("update", "sample")

_SOFTWARE = {
    Access.RO: "sw = r;",
    Access.RW: "sw = rw;",
    Access.WO: "sw = w;",
    Access.W1C: "sw = rw; onwrite = woclr;",
}


def systemrdl(params: RLUParams, name: str = DEFAULT) -> str:
    """The register map of a unit, as text.

    A register that is a number has one field, ``value``. A window is an array of registers, or of register files if a
    row is more than a word; it has no reset value, because memories are not reset. The language knows neither signed
    numbers nor ranges: the descriptions have them. A field that would hide a method of ``uvm_reg`` has an underscore
    behind its name; its display name is without.

    Args:
        params: what the unit looks like.
        name: of the address map.
    """
    lines = [
        f"// {title(params)}",
        f"addrmap {name} {{",
        f'    name = "{name.upper()}";',
        f'    desc = "{_text(title(params))}";',
        "    littleendian;",
        "    default regwidth = 32;",
    ]
    for register in REGISTERS:
        lines += ["", *_indented(_register(register, params))]
    for window in WINDOWS:
        lines += ["", *_indented(_window(window, params))]
    return "\n".join([*lines, "};", ""])


def _register(register: Register, params: RLUParams) -> Iterator[str]:
    doc = register.doc
    if register.access.writable and register.number is not None:
        low, high = register.limits(params)
        doc += f" A write of {low}..{high} is accepted."
    if register.signed:
        doc += " A signed number, sign-extended to the word."
    yield f"reg {register.name}_reg {{"
    yield f'    desc = "{_text(doc)}";'
    for field in named_fields(register, params):
        access = register.access_of(field, params)
        # A number's reset value may be wider than the number: it is sign-extended.
        reset = register.reset_value(params) >> field.lsb & (field.mask >> field.lsb)
        hardware = _hardware(register, field, params)
        yield from _indented(_field(field, access, hardware, reset if register.access.readable else None))
    yield f"}} {register.name} @ 0x{register.offset:X};"


def _window(window: Window, params: RLUParams) -> Iterator[str]:
    word = ["reg {" if window.words_per_row > 1 else f"reg {window.name}_reg {{", f'    desc = "{_text(window.doc)}";']
    for field in window.fields(params):
        word += _indented(_field(field, window.access, "rw", None))
    if window.words_per_row > 1:
        yield f"regfile {window.name}_row {{"
        yield f'    desc = "{_text(window.doc)}";'
        yield from _indented([f"reg {window.name}_reg {{", *word[1:], f"}} WORD[{window.used_words(params)}] += 4;"])
    else:
        yield from word
    yield f"}} {window.name}[{window.strides(params)}] @ 0x{window.offset:X} += 0x{window.stride:X};"


def _field(field: Field, access: Access, hardware: str, reset: int | None) -> Iterator[str]:
    name, display = field.name, ""
    if name in _UVM_METHODS:
        name, display = f"{name}_", f'name = "{name}"; '
    after = "" if reset is None else f" = 0x{reset:X}"
    yield f'field {{ {display}{_SOFTWARE[access]} hw = {hardware}; desc = "{_text(field.text)}"; }}'
    yield f"    {name}[{field.lsb + field.width - 1}:{field.lsb}]{after};"


def _hardware(register: Register, field: Field, params: RLUParams) -> str:
    """What the unit itself does with a field: what it changes is volatile to a reader."""
    if not field.present(params) or (register.access is Access.RO and not register.external):
        return "na"  # a constant
    if register.access_of(field, params) is Access.RO:
        return "w"
    return "rw" if register.external or register.access is Access.W1C else "r"


def _text(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _indented(lines: Collection[str] | Iterator[str]) -> list[str]:
    return [f"    {line}" for line in lines]
