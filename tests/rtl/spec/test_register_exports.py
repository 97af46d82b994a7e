"""One description of the registers: RTL, driver, C header, Verilog header, SVD and documentation agree."""

import ast
import re
import subprocess
from xml.etree import ElementTree

import pytest
from peakrdl_svd.importer import SVDImporter
from systemrdl import RDLCompiler
from systemrdl.node import RegNode

from rtl.flows.ip.package import Phase, Step, files, scenario_task
from rtl.spec import registers
from rtl.spec.buses import ADDRESS_WIDTH
from rtl.spec.params import RLUParams
from rtl.spec.register_exports import c_header, svd, verilog_header
from rtl.spec.register_formats import TEXTS
from rtl.spec.registers import BY_NAME, REGISTERS, WINDOW_BY_NAME, WINDOWS
from sim.devices import driver
from tests.places import ROOT
from tests.require import require_command
from tests.stranger import passed, simulate

SMALL = RLUParams(states=5, actions=3, q_width=8, q_frac=6, coef_frac=4, gain_frac=4, lfsr_width=32)
CONFIGURATIONS = [RLUParams(), SMALL, RLUParams(states=9, actions=4, episodes=8, points=4)]
SIGNED = ("REWARD", "SHARE")
ACCESS = {"ro": "read-only", "rw": "read-write", "wo": "write-only", "w1c": "read-write"}


def describe(params):
    return f"{params.states}x{params.actions}x{params.q_width}"


each_configuration = pytest.mark.parametrize("params", CONFIGURATIONS, ids=describe)


def expected_constants(params):
    """Names and values that a header must have, worked out here from the table."""
    names = ("states", "actions", "q_width", "q_frac", "coef_frac", "gain_frac", "lfsr_width", "episodes", "points")
    values = {f"RLU_PARAM_{name.upper()}": getattr(params, name) for name in names}
    for r in REGISTERS:
        values[f"RLU_{r.name}_OFFSET"] = r.offset
        if r.access != "wo":
            values[f"RLU_{r.name}_RESET"] = r.reset_value(params)
        if r.access == "rw" and not r.fields:
            values[f"RLU_{r.name}_MIN"], values[f"RLU_{r.name}_MAX"] = r.limits(params)
        for f in r.fields:
            values[f"RLU_{r.name}_{f.name.upper()}_MASK"] = (2**f.width - 1) << f.lsb
            values[f"RLU_{r.name}_{f.name.upper()}_SHIFT"] = f.lsb
    pairs = -(-params.actions // 2)
    for name, entries, stride, words, width, fields in (
        ("POLICY", -(-params.states // 8), 4, 1, 4, [f"ROW{i}" for i in range(8)]),
        ("ACTION_COUNT", params.states, 4, 1, 5, ["COUNT"]),
        ("Q_TABLE", params.states, 32, pairs, 16, ["EVEN", "ODD"]),
    ):
        values[f"RLU_{name}_OFFSET"] = WINDOW_BY_NAME[name].offset
        values |= {f"RLU_{name}_ENTRIES": entries, f"RLU_{name}_STRIDE": stride, f"RLU_{name}_WORDS": words}
        for i, field in enumerate(fields):
            values[f"RLU_{name}_{field}_MASK"] = (2**width - 1) << width * i
            values[f"RLU_{name}_{field}_SHIFT"] = width * i
    memories = {"COSTS": {"ROW": 4, "POINT": 12}, "TRIALS": {"ROW": 4}, "POLICIES": {"EPISODE": 5}, "RESULTS": {}}
    for number, (name, shifts) in enumerate(memories.items()):
        values[f"RLU_MEMORY_{name}"] = number << 16
        values |= {f"RLU_MEMORY_{name}_{part}_SHIFT": shift for part, shift in shifts.items()}
    return values


def c_constants(header, folder):
    """Every constant of a C header, as a C11 compiler that warns of everything sees them."""
    names = re.findall(r"^#define (RLU_\w+) \S", header, re.MULTILINE)
    (folder / "rlu_regs.h").write_text(header)
    lines = [f'    printf("{name} %lld\\n", (long long)({name}));' for name in names]
    text = ["#include <stdio.h>", '#include "rlu_regs.h"', "int main(void)", "{", *lines, "    return 0;", "}", ""]
    (folder / "print.c").write_text("\n".join(text))
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    gcc = require_command("gcc", "gcc")
    subprocess.run([gcc, *strict, "-o", "print", "print.c"], cwd=folder, check=True)
    said = subprocess.run(["./print"], cwd=folder, check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in map(str.split, said.splitlines())}


def verilog_constants(header, folder):
    """Every constant of a Verilog header, as Icarus sees them: 32 bits, the negative ones signed."""
    names = re.findall(r"^`define (RLU_\w+) \S", header, re.MULTILINE)
    (folder / "rlu_regs.vh").write_text(header)
    lines = [f'    $display("{name} %0d", `{name});' for name in names]
    (folder / "print.v").write_text(
        "\n".join(['`include "rlu_regs.vh"', "module print;", "  initial begin", *lines, "  end", "endmodule", ""])
    )
    iverilog = require_command("iverilog", "iverilog")
    subprocess.run([iverilog, "-g2005", "-Wall", "-o", "print.vvp", "print.v"], cwd=folder, check=True)
    said = subprocess.run(["vvp", "-n", "print.vvp"], cwd=folder, check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in map(str.split, said.splitlines())}


HEADERS = {"c": (c_header, c_constants), "verilog": (verilog_header, verilog_constants)}


@each_configuration
@pytest.mark.parametrize("language", HEADERS)
def test_the_header_has_every_constant_of_the_table(language, params, tmp_path):
    make, read = HEADERS[language]
    assert read(make(params), tmp_path) == expected_constants(params)


@pytest.mark.parametrize("language", HEADERS)
@pytest.mark.parametrize("constant", ["RLU_ALPHA_OFFSET", "RLU_REWARD_MIN", "RLU_STATUS_ERROR_BUSY_SHIFT"])
def test_a_wrong_constant_of_a_header_is_noticed(language, constant, tmp_path):
    make, read = HEADERS[language]
    wrong = re.sub(rf"({constant}) .*", r"\1 1", make(SMALL))
    assert read(wrong, tmp_path) == expected_constants(SMALL) | {constant: 1} != expected_constants(SMALL)


def number(element, tag, default=None):
    text = element.findtext(tag)
    return default if text is None else int(text, 0)


def svd_contents(text):
    """Registers and windows of an SVD file, by name, in the terms of its own elements."""
    registers_, windows = {}, {}
    (peripheral,) = ElementTree.fromstring(text).iter("peripheral")
    for element in peripheral.find("registers"):
        inner = element.find("register") if element.tag == "cluster" else element
        fields = {
            field.findtext("name"): (
                number(field, "bitOffset"),
                number(field, "bitWidth"),
                field.findtext("access"),
                field.findtext("modifiedWriteValues"),
            )
            for field in inner.iter("field")
        }
        name, offset = element.findtext("name"), number(element, "addressOffset")
        if element.find("dim") is None:
            span = element.find("writeConstraint/range")
            limits = None if span is None else (number(span, "minimum"), number(span, "maximum"))
            registers_[name] = {
                "offset": offset,
                "access": element.findtext("access"),
                "clears": element.findtext("modifiedWriteValues"),
                "reset": number(element, "resetValue"),
                "mask": number(element, "resetMask"),
                "limits": limits,
                "signed": element.findtext("dataType") == "int32_t",
                "fields": fields,
            }
        else:
            nested = inner is not element
            windows[name.removesuffix("[%s]")] = {
                "offset": offset + (number(inner, "addressOffset") if nested else 0),
                "entries": number(element, "dim"),
                "stride": number(element, "dimIncrement"),
                "words": number(inner, "dim") if nested else 1,
                "step": number(inner, "dimIncrement") if nested else 4,
                "access": inner.findtext("access"),
                "fields": fields,
            }
    return registers_, windows


def expected_svd(params):
    """What the SVD file must say, worked out here from the table."""
    clears = "oneToClear"
    registers_ = {}
    for r in REGISTERS:
        fields = {}
        for f in r.fields:
            read_only = r.access == "ro" or (r.name == "STATUS" and not f.name.startswith("error_"))
            read_only |= not f.present(params)
            access = "read-only" if read_only else ACCESS[r.access]
            fields[f.name] = (f.lsb, f.width, access, clears if r.access == "w1c" and not read_only else None)
        if not fields:
            fields["value"] = (0, 32 if r.name in SIGNED else r.width(params), ACCESS[r.access], None)
        low, high = r.limits(params)
        registers_[r.name] = {
            "offset": r.offset,
            "access": ACCESS[r.access],
            "clears": clears if r.access == "w1c" else None,
            "reset": r.reset_value(params),
            "mask": 0 if r.access == "wo" else 0xFFFF_FFFF,
            "limits": (low, high) if r.access == "rw" and not r.fields and r.name not in SIGNED else None,
            "signed": r.name in SIGNED,
            "fields": fields,
        }
    constants, windows = expected_constants(params), {}
    for w in WINDOWS:
        entry = {key: constants[f"RLU_{w.name}_{key.upper()}"] for key in ("entries", "stride", "words")}
        masks = {
            re.fullmatch(rf"RLU_{w.name}_(\w+)_MASK", name)[1].lower(): value
            for name, value in constants.items()
            if re.fullmatch(rf"RLU_{w.name}_\w+_MASK", name)
        }
        fields = {
            name: ((mask & -mask).bit_length() - 1, mask.bit_count(), "read-write", None)
            for name, mask in masks.items()
        }
        windows[w.name] = {"offset": w.offset, "step": 4, "access": "read-write", "fields": fields, **entry}
    return registers_, windows


@each_configuration
def test_the_svd_has_every_register_field_and_window_of_the_table(params):
    assert svd_contents(svd(params)) == expected_svd(params)


def peakrdl_contents(path):
    """Registers as PeakRDL reads them: by address the fields, each with bits, access of software and reset value."""
    compiler = RDLCompiler()
    SVDImporter(compiler).import_file(str(path))
    registers_ = {}
    for node in compiler.elaborate().descendants():
        if isinstance(node, RegNode):
            registers_[node.absolute_address] = {
                f.inst_name: (f.lsb, f.width, f.get_property("sw").name, f.get_property("reset")) for f in node.fields()
            }
    return registers_


@each_configuration
def test_peakrdl_reads_the_svd(params, tmp_path):
    """It refuses a register without fields."""
    path = tmp_path / "rlu.svd"
    path.write_text(svd(params))
    read, (known, windows) = peakrdl_contents(path), expected_svd(params)
    software = {"read-only": "r", "read-write": "rw", "write-only": "w"}
    for r in known.values():
        assert read.pop(r["offset"]) == {
            name: (lsb, width, software[access], (r["reset"] >> lsb) & (2**width - 1) if r["mask"] else None)
            for name, (lsb, width, access, _) in r["fields"].items()
        }
    for w in windows.values():
        fields = {name: (lsb, width, "rw", None) for name, (lsb, width, _, _) in w["fields"].items()}
        for i in range(w["entries"]):
            for k in range(w["words"]):
                assert read.pop(w["offset"] + w["stride"] * i + w["step"] * k) == fields
    assert not read


def without_alpha(text):
    return re.sub(r"<name>ALPHA</name>.*?</register>", "<name>ALPHA</name></register>", text, flags=re.DOTALL)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("<addressOffset>0x2C<", "<addressOffset>0x28<"),
        lambda text: text.replace("<resetValue>0x2000<", "<resetValue>0x2001<", 1),
        lambda text: text.replace("<access>write-only<", "<access>read-write<"),
        lambda text: text.replace("<bitOffset>9<", "<bitOffset>10<"),
        lambda text: text.replace("<dim>256<", "<dim>255<", 1),
        lambda text: text.replace("<modifiedWriteValues>oneToClear</modifiedWriteValues>", "", 1),
        without_alpha,
    ],
    ids=["address", "reset", "access", "field", "window", "clearing", "missing"],
)
def test_a_wrong_svd_is_noticed(damage):
    wrong = damage(svd(RLUParams()))
    assert wrong != svd(RLUParams())
    assert svd_contents(wrong) != expected_svd(RLUParams())


def svd_walk(text):
    """Steps for the bench that show whether a unit has the registers an SVD file says, and no others."""
    known, windows = svd_contents(text)
    steps = [Step("expect_word", r["offset"], r["reset"]) for r in known.values() if r["mask"]]
    for r in known.values():
        if r["access"] == "read-only":
            steps.append(Step("refuse_write", r["offset"], r["reset"]))
        if r["access"] != "read-write":
            continue
        writable = sum((2**width - 1) << lsb for lsb, width, access, _ in r["fields"].values() if access != "read-only")
        if r["clears"]:
            steps.append(Step("write", r["offset"], writable))
        elif "value" not in r["fields"]:
            steps += [Step("write", r["offset"], writable), Step("expect_word", r["offset"], writable)]
            steps.append(Step("refuse_write", r["offset"], ~writable & -~writable))
        for value in r["limits"] or ():
            # Some of these writes start work.
            steps += [Step("write", r["offset"], value), Step("wait"), Step("expect_word", r["offset"], value)]
        if r["limits"] and r["limits"][1] < 0xFFFF_FFFF:
            steps.append(Step("refuse_write", r["offset"], r["limits"][1] + 1))
        if r["signed"]:
            steps += [Step("write", r["offset"], 0xFFFF_FFFF), Step("wait")]
            steps.append(Step("expect_word", r["offset"], 0xFFFF_FFFF))
        if not r["clears"]:
            steps += [Step("write", r["offset"], r["reset"]), Step("wait")]
    words = {r["offset"] for r in known.values()}
    for w in windows.values():
        mine = [
            w["offset"] + w["stride"] * i + w["step"] * k for i in range(w["entries"]) for k in range(w["words"])
        ]  # fmt: skip
        for address in (mine[0], mine[-1]):
            steps += [Step("write", address, 1), Step("expect_word", address, 1)]
        words |= set(mine)
    steps += [Step("refuse_read", address) for address in range(0, 1 << ADDRESS_WIDTH, 4)
              if address not in words]  # fmt: skip
    return [Phase("Every address of the SVD file, and every other one", False, steps)]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Gives the folder of a unit's package; each is made once."""
    folders = {}

    def made(params):
        if params not in folders:
            folders[params] = tmp_path_factory.mktemp("walk")
            for name, text in files(params, "none", []).items():
                (folders[params] / name).parent.mkdir(exist_ok=True)
                (folders[params] / name).write_text(text)
        return folders[params]

    return made


def play(folder, steps):
    (folder / "bench" / "rlu_scenario.vh").write_text(scenario_task(steps))
    return simulate(folder)


# A word of a planning unit's memories is no plain register, so that unit is left out.
@pytest.mark.parametrize("params", CONFIGURATIONS[:2], ids=describe)
def test_the_rtl_decodes_what_the_svd_says(package, params):
    done = play(package(params), svd_walk(svd(params)))
    assert passed(done), done.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<addressOffset>0x70<", "<addressOffset>0x78<"),
        ("<resetValue>0x2<", "<resetValue>0x0<"),
        ("<access>read-write<", "<access>read-only<"),
        ("<maximum>5<", "<maximum>4<"),
        ("<dim>5<", "<dim>4<"),
    ],
    ids=["address", "reset", "access", "range", "window"],
)
def test_an_rtl_that_decodes_otherwise_is_noticed(package, old, new):
    text = svd(SMALL)
    assert old in text
    assert not passed(play(package(SMALL), svd_walk(text.replace(old, new, 1))))


def documented(page):
    """Rows of the register table of a page: name, then address, access and reset value as numbers."""
    rows = re.findall(r"^\| (0x\w+)(?:\.\.0x\w+)? \| (\w+) \| (\w+) \| (\w*) *\|", page, re.MULTILINE)
    return {
        name: (int(address, 0), access, int(reset, 0) if reset else None) for address, name, access, reset in rows
    }  # fmt: skip


def expected_documentation(params):
    rows = {r.name: (r.offset, r.access, None if r.access == "wo" else r.reset_value(params)) for r in REGISTERS}
    return rows | {w.name: (w.offset, "rw", None) for w in WINDOWS}


def test_the_documentation_has_every_register_and_window():
    page = (ROOT / "docs" / "integrate" / "registers.md").read_text()
    assert documented(page) == expected_documentation(RLUParams())
    wrong = page.replace("| ALPHA | rw | 0x2000 |", "| ALPHA | rw | 0x2001 |")
    assert wrong != page and documented(wrong) != expected_documentation(RLUParams())


def names_of_registers(source):
    """Strings in upper case in Python source: what a driver calls registers and windows."""
    strings = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    return {text for text in strings if isinstance(text, str) and re.fullmatch(r"[A-Z][A-Z_]*[A-Z]", text)}


@pytest.mark.parametrize("module", ["driver", "device", "objective"])
def test_the_driver_calls_registers_by_their_names(module):
    source = (ROOT / "sim" / "devices" / f"{module}.py").read_text()
    known = set(BY_NAME) | set(WINDOW_BY_NAME)
    assert names_of_registers(source) and names_of_registers(source) <= known
    assert not names_of_registers(f'{source}\nx = "AWARD"') <= known
    # Their addresses are in the table only.
    numbers = {f"0x{r.offset:02X}" for r in REGISTERS[1:]} | {f"0x{w.offset:04X}" for w in WINDOWS}
    assert not numbers & set(re.findall(r"\b0x\w+\b", source))


def test_the_driver_fails_where_the_table_lacks_a_name(monkeypatch):
    from sim.devices.device import GoldenDevice

    monkeypatch.delitem(BY_NAME, "EPSILON")
    unit = driver.Driver(GoldenDevice(SMALL))
    with pytest.raises(KeyError, match="EPSILON"):
        unit.sample(0.5)


def test_the_commands_of_the_driver_are_the_fields_of_the_register():
    masks = {f.name: f.mask for f in BY_NAME["COMMAND"].fields}
    assert masks == {
        name.lower(): getattr(registers, name) for name in ("CLEAR", "REWARD", "UPDATE", "SAMPLE", "RECOMMEND")
    }


@pytest.mark.parametrize("form", TEXTS)
def test_every_export_has_every_register_and_window(form):
    text = TEXTS[form](SMALL, "rlu")
    for place in (*REGISTERS, *WINDOWS):
        assert re.search(rf"(?<![A-Z]){place.name}(?![A-Z])", text), place.name
