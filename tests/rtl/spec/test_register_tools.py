"""The register map in the formats of other tools, each read by a reader that is not ours: SystemRDL, IP-XACT, UVM."""

import io
import json
import re
from xml.etree import ElementTree

import pytest
from peakrdl_ipxact import IPXACTImporter
from systemrdl import RDLCompiler
from systemrdl.node import RegNode

from algo.cli import main
from rtl.flows.ip.package import files
from rtl.spec.buses import BUSES, STANDARD, front_end
from rtl.spec.ipxact import DEFINITIONS, component_xml
from rtl.spec.params import RLUParams
from rtl.spec.peakrdl_exports import uvm
from rtl.spec.register_formats import FORMATS
from rtl.spec.registers import REGISTERS, WINDOWS
from rtl.spec.systemrdl import systemrdl
from rtl.verilog import ports

SMALL = RLUParams(states=5, actions=3, q_width=8, q_frac=6, coef_frac=4, gain_frac=4, lfsr_width=32)
CONFIGURATIONS = [RLUParams(), SMALL, RLUParams(states=9, actions=4, episodes=8, points=4)]
each_configuration = pytest.mark.parametrize("params", CONFIGURATIONS, ids=lambda p: f"{p.states}x{p.actions}")
SIGNED = ("REWARD", "SHARE")
NAMESPACE = {"ipxact": "http://www.accellera.org/XMLSchema/IPXACT/1685-2014"}


def words_of(top):
    """By address, the fields of each register as a SystemRDL compiler has them: bits, access, clearing, reset."""
    found = {}
    for node in top.descendants(unroll=True):
        if isinstance(node, RegNode):
            assert node.absolute_address not in found
            found[node.absolute_address] = {
                f.get_property("name"): (
                    f.lsb, f.width, f.get_property("sw").name,
                    f.get_property("onwrite") and f.get_property("onwrite").name, f.get_property("reset"),
                )
                for f in node.fields()
            }  # fmt: skip
    return found


def compiled(text, folder):
    path = folder / "rlu.rdl"
    path.write_text(text)
    compiler = RDLCompiler()
    compiler.compile_file(str(path))
    return compiler.elaborate().top


def imported(text, folder):
    path = folder / "component.xml"
    path.write_text(text)
    compiler = RDLCompiler()
    IPXACTImporter(compiler).import_file(str(path))
    return compiler.elaborate().top


def expected_words(params):
    """What the tables say, worked out here."""
    software, found = {"ro": "r", "rw": "rw", "wo": "w", "w1c": "rw"}, {}
    for r in REGISTERS:
        fields = {
            f.name: (f.lsb, f.width, (f.access or r.access) if f.present(params) else "ro") for f in r.fields
        } or {"value": (0, 32 if r.name in SIGNED else r.width(params), r.access)}  # fmt: skip
        found[r.offset] = {
            name: (
                lsb, width, software[access], "woclr" if access == "w1c" else None,
                None if r.access == "wo" else r.reset_value(params) >> lsb & 2**width - 1,
            )
            for name, (lsb, width, access) in fields.items()
        }  # fmt: skip
    for w in WINDOWS:
        for row in range(0, params.states, w.rows_per_word):
            for column in range(0, params.actions if w.name == "Q_TABLE" else 1, w.entries_per_word):
                found[w.address(row, column)] = {
                    f.name: (f.lsb, f.width, "rw", None, None) for f in w.fields(params)
                }  # fmt: skip
    return found


@each_configuration
def test_a_systemrdl_compiler_reads_every_register_field_and_window_of_the_table(params, tmp_path):
    top = compiled(systemrdl(params), tmp_path)
    assert words_of(top) == expected_words(params)
    names = {node.inst_name for node in top.children()}
    assert names == {place.name for place in (*REGISTERS, *WINDOWS)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ALPHA @ 0x20;", "ALPHA @ 0x1FC;"),
        ("value[4:0] = 0x4;", "value[4:0] = 0x5;"),
        ("sw = w;", "sw = rw;"),
        ("onwrite = woclr; ", ""),
        ("error_busy[9:9]", "error_busy[12:12]"),
        ("Q_TABLE[5]", "Q_TABLE[4]"),
        ("WORD[2]", "WORD[3]"),
    ],
    ids=["address", "reset", "access", "clearing", "field", "window", "row"],
)
def test_a_wrong_systemrdl_is_noticed(old, new, tmp_path):
    text = systemrdl(SMALL)
    assert old in text
    assert words_of(compiled(text.replace(old, new, 1), tmp_path)) != expected_words(SMALL)


def component(bus, params=SMALL):
    return component_xml(params, bus, ports(params, bus))


@each_configuration
def test_the_ip_xact_component_has_the_registers_of_the_systemrdl(params, tmp_path):
    read = words_of(imported(component("axi4lite", params), tmp_path))
    assert read == words_of(compiled(systemrdl(params), tmp_path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("addressOffset>'h20<", "addressOffset>'h1FC<"),
        ("<ipxact:value>'h1<", "<ipxact:value>'h0<"),
        (">write-only<", ">read-write<"),
        ("<ipxact:modifiedWriteValue>oneToClear</ipxact:modifiedWriteValue>", ""),
        ("<ipxact:bitOffset>9<", "<ipxact:bitOffset>12<"),
        ("<ipxact:dim>5<", "<ipxact:dim>4<"),
    ],
    ids=["address", "reset", "access", "clearing", "field", "window"],
)
def test_a_wrong_ip_xact_component_is_noticed(old, new, tmp_path):
    text = component("none")
    assert old in text
    assert words_of(imported(text.replace(old, new), tmp_path)) != expected_words(SMALL)


def interface_of(text):
    """Port maps, bus type and memory map of a component's only bus interface, and its ports, as ipyxact reads them."""
    ipyxact = pytest.importorskip("ipyxact.ipyxact")
    read = ipyxact.Component()
    read.load(io.StringIO(text))
    found = {port.name: (port.wire.direction, port.wire) for port in read.model.ports.port}
    # ipyxact knows port maps of older versions of the standard only; the rest is read as plain XML.
    (one,) = ElementTree.fromstring(text).findall("ipxact:busInterfaces/ipxact:busInterface", NAMESPACE)
    pairs = {
        pair.findtext("ipxact:logicalPort/ipxact:name", "", NAMESPACE): pair.findtext(
            "ipxact:physicalPort/ipxact:name", "", NAMESPACE
        )
        for pair in one.iterfind(".//ipxact:portMap", NAMESPACE)
    }
    kind = one.find("ipxact:busType", NAMESPACE).attrib
    reference = one.find("ipxact:slave/ipxact:memoryMapRef", NAMESPACE).attrib["memoryMapRef"]
    assert reference in [one.name for one in read.memoryMaps.memoryMap]
    return pairs, kind, found


#: Signals that a slave of the standard must or may have, from the standard itself.
AXI = {
    f"{channel}{signal}"
    for channel, signals in {
        "AW": "VALID READY ADDR PROT", "W": "VALID READY DATA STRB", "B": "VALID READY RESP",
        "AR": "VALID READY ADDR PROT", "R": "VALID READY DATA RESP",
    }.items()
    for signal in signals.split()
}  # fmt: skip
SIGNALS = {
    "axi4lite": ("amba.com:AMBA4:AXI4-Lite", AXI | {"ACLK"}),
    "apb": (
        "amba.com:AMBA4:APB4",
        {
            f"P{name}"
            for name in ["CLK", "SELx", "ENABLE", "ADDR", "WRITE", "WDATA", "STRB", "PROT", "READY", "RDATA", "SLVERR"]
        },
    ),
    "wishbone": (
        "opencores.org:interface:wishbone",
        {f"{name}_I" for name in ["CLK", "RST", "CYC", "STB", "WE", "ADR", "DAT", "SEL"]}
        | {f"{name}_O" for name in ["ACK", "ERR", "STALL", "DAT"]},
    ),
}


@pytest.mark.parametrize("bus", [record.name for record in STANDARD])
def test_the_ip_xact_component_has_the_bus_with_every_signal_at_a_port(bus):
    pairs, kind, found = interface_of(component(bus))
    name, signals = SIGNALS[bus]
    assert ":".join(kind[part] for part in ("vendor", "library", "name")) == name
    assert set(pairs) == signals
    expected = {port["name"]: port["direction"] for port in ports(SMALL, bus)}
    assert {name: direction for name, (direction, _) in found.items()} == expected
    of_the_bus = {port.name for port in front_end(bus).ports}
    assert of_the_bus <= set(pairs.values()) <= of_the_bus | {"clk", "rst"}
    assert len(set(pairs.values())) == len(pairs)
    # A port that is missing is noticed.
    lost = (
        component(bus)
        .replace("<ipxact:physicalPort>", "<ipxact:other>")
        .replace("/ipxact:physicalPort", "/ipxact:other")
    )
    assert set(interface_of(lost)[0].values()) == {""}


def test_every_standard_bus_has_a_definition_and_our_own_has_no_interface():
    assert set(DEFINITIONS) == {record.name for record in STANDARD} == set(SIGNALS)
    assert "busInterface" not in component("none") and "memoryMap" in component("none")


def schema_order(text):
    """The elements as classes that were generated from the standard's schema write the document again: without what
    they do not know, and in the schema's order. They add two default values, which are left out here."""
    pytest.importorskip("lxml")
    schema = pytest.importorskip("ipyxact.ipxact2014")
    read = schema.parseString(text.encode(), silence=True)
    written = io.StringIO()
    space = f'xmlns:ipxact="{NAMESPACE["ipxact"]}"'
    read.export(written, 0, name_="component", namespacedef_=space)
    return [one for one in elements(written.getvalue()) if one not in (("bitSteering", "off"), ("reserved", "false"))]


def lifted(text):
    """The component with the registers of register files before them: the classes do not know registers in there."""
    ElementTree.register_namespace("ipxact", NAMESPACE["ipxact"])
    root = ElementTree.fromstring(text)
    (block,) = root.iterfind(".//ipxact:addressBlock", NAMESPACE)
    for file in block.findall("ipxact:registerFile", NAMESPACE):
        for inner in file.findall("ipxact:register", NAMESPACE):
            file.remove(inner)
            block.insert(list(block).index(file), inner)
    return ElementTree.tostring(root, encoding="unicode")


def elements(text):
    """Every element with its text, in order."""
    return [(e.tag.partition("}")[2], (e.text or "").strip()) for e in ElementTree.fromstring(text).iter()]


@pytest.mark.parametrize("bus", BUSES)
def test_the_ip_xact_component_has_the_elements_of_the_schema_in_its_order(bus):
    text = lifted(component(bus))
    assert schema_order(text) == elements(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"(<ipxact:bitWidth>\d+</ipxact:bitWidth>)\s*(<ipxact:access>[\w-]+</ipxact:access>)", r"\2\1"),
        (r"<ipxact:usage>register</ipxact:usage>", "<ipxact:purpose>register</ipxact:purpose>"),
    ],
    ids=["order", "unknown"],
)
def test_a_component_against_the_schema_is_noticed(old, new):
    wrong, times = re.subn(old, new, lifted(component("apb")), count=1)
    assert times == 1 and schema_order(wrong) != elements(wrong)


#: As much of UVM's library as the model uses, with the methods that a field must not hide.
UVM = """
package uvm_pkg;
  typedef enum {UVM_NO_COVERAGE} uvm_coverage_model_e;
  typedef enum {UVM_NO_ENDIAN, UVM_LITTLE_ENDIAN, UVM_BIG_ENDIAN} uvm_endianness_e;
  typedef class uvm_reg; typedef class uvm_reg_block; typedef class uvm_reg_map;
  class uvm_reg_field;
    function new(string name = ""); endfunction
    function void configure(uvm_reg parent, int unsigned size, int unsigned lsb, string access, bit volatile_,
      logic [63:0] reset, bit has_reset, bit is_rand, bit individually); endfunction
  endclass
  class uvm_reg;
    function new(string name, int unsigned n_bits, int has_coverage); endfunction
    function void configure(uvm_reg_block parent, uvm_reg_block file = null, string path = ""); endfunction
    virtual task update(output int status); endtask
    protected virtual function void sample(logic [63:0] data); endfunction
    virtual function void build(); endfunction
  endclass
  class uvm_reg_map;
    function void add_reg(uvm_reg rg, logic [63:0] offset, string rights = "RW"); endfunction
    function void add_submap(uvm_reg_map child, logic [63:0] offset); endfunction
  endclass
  class uvm_reg_block;
    uvm_reg_map default_map;
    function new(string name = "", int has_coverage = UVM_NO_COVERAGE); endfunction
    function void configure(uvm_reg_block parent = null, string path = ""); endfunction
    function uvm_reg_map create_map(string name, logic [63:0] base, int unsigned n_bytes, uvm_endianness_e endian);
      return null; endfunction
    virtual function void build(); endfunction
  endclass
endpackage
"""


def complaints(model):
    """What a SystemVerilog compiler says about the model, with a stand-in for UVM's library."""
    pyslang = pytest.importorskip("pyslang")
    text = UVM + model.replace('`include "uvm_macros.svh"', "")
    compilation = pyslang.ast.Compilation()
    compilation.addSyntaxTree(pyslang.syntax.SyntaxTree.fromText(text))
    return [str(one.code) for one in compilation.getAllDiagnostics() if one.isError()]


@each_configuration
def test_the_uvm_model_has_a_class_for_every_register(params):
    text = uvm(params)
    classes = set(re.findall(r"^ *class rlu__(\w+)_reg extends uvm_reg;", text, re.MULTILINE))
    inner = {name.rpartition("__")[2] for name in classes}
    assert inner == {place.name for place in (*REGISTERS, *WINDOWS)}
    assert re.search(r"^ *class rlu extends uvm_reg_block;", text, re.MULTILINE)
    assert 'create_map("reg_map", 0, 4, UVM_LITTLE_ENDIAN)' in text and "UVM_NO_ENDIAN" not in text
    for r in REGISTERS:
        assert f"this.default_map.add_reg(this.{r.name}, 'h{r.offset:x});" in text
    w1c = [f for r in REGISTERS if r.access == "w1c" for f in r.fields if f.access is None]
    assert text.count('"W1C"') == len(w1c)


def test_a_systemverilog_compiler_takes_the_uvm_model_and_notices_a_wrong_one():
    text = uvm(SMALL)
    assert complaints(text) == []
    assert complaints(text.replace("rand uvm_reg_field value;", "", 1))


def run(arguments, capsys):
    try:
        main(arguments)
    except SystemExit as stop:
        return stop.code or 0, capsys.readouterr()
    return 0, capsys.readouterr()


SIZE = ["--states", "5", "--actions", "3"]


def test_the_command_writes_every_format(tmp_path, capsys):
    for form in FORMATS:
        code, said = run(["registers", *SIZE, "--format", form, "-o", str(tmp_path / form)], capsys)
        assert code == 0 and said.out == f"wrote {tmp_path / form}\n", form
    assert (tmp_path / "systemrdl").read_text() == systemrdl(RLUParams(states=5, actions=3))
    assert (tmp_path / "html" / "index.html").is_file()
    pages = " ".join(path.read_text() for path in (tmp_path / "html" / "content").rglob("*.html"))
    for place in (*REGISTERS, *WINDOWS):
        assert place.name in pages, place.name
    assert json.loads((tmp_path / "json").read_text())


def test_the_command_writes_the_component_of_a_bus(capsys):
    for bus in BUSES:
        code, said = run(["registers", *SIZE, "--format", "ipxact", "--bus", bus], capsys)
        assert code == 0 and said.out == component(bus, RLUParams(states=5, actions=3))


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in ("html", "markdown", "json")])
def test_the_command_gives_every_name_the_prefix_of_the_package(form, tmp_path, capsys):
    """The package of the same name and reset has the same text."""
    bus = ["--bus", "axi4lite", "--reset", "active-low"] if form == "ipxact" else []
    code, said = run(["registers", *SIZE, "--format", form, "--name", "left", *bus], capsys)
    assert code == 0 and not re.search(r"(?i)\brlu_|\brlu\b(?!-cosim)", said.out)
    packed = files(RLUParams(states=5, actions=3), "axi4lite", [], clock_mhz=80.0, name="left", reset="active-low")
    licence = re.compile(r".*SPDX-License-Identifier: Apache-2.0.*\n")
    path = {"c": "left_regs.h", "verilog": "left_regs.vh", "svd": "left.svd", "systemrdl": "left.rdl",
            "ipxact": "component.xml"}.get(form)  # fmt: skip
    if path is not None:
        assert licence.sub("", packed[path]) == said.out


def test_two_uvm_models_share_a_testbench():
    text = uvm(SMALL) + uvm(RLUParams(states=9, actions=4), "left")
    assert complaints(text) == [] and "package left_regs_pkg;" in text and "class left extends uvm_reg_block;" in text
    assert len(set(re.findall(r"^package (\w+);", text, re.MULTILINE))) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "xls"], f"the format must be one of {', '.join(FORMATS)}, not 'xls'"),
        (["--format", "ipxact", "--bus", "spi"], f"bus must be one of {', '.join(BUSES)}, not 'spi'"),
        (["--format", "svd", "--bus", "apb"], "--bus is for --format ipxact: svd has no ports"),
        (["--format", "svd", "--reset", "active-low"], "--reset is for --format ipxact: svd has no ports"),
        (["--format", "ipxact", "--reset", "low"], "no reset 'low'; there are: active-high, active-low"),
        (
            ["--format", "json", "--name", "left"],
            "--name is for --format c, verilog, svd, systemrdl, uvm, ipxact, html",
        ),
        (["--format", "c", "--name", "int"], "the name 'int' is a reserved word"),
        (["--format", "html"], "--format html writes a folder: name one with -o"),
        (["--format", "html", "-o", "own.txt"], "--format html writes a folder: name one with -o"),
        (["--format", "c", "-o", "."], "--format c writes a file, and . is a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_use_is_named_with_exit_code_2(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_text("the user's own")
    code, told = run(["registers", *arguments], capsys)
    assert code == 2 and said in told.err and not told.out
    assert [path.name for path in tmp_path.iterdir()] == ["own.txt"]


@pytest.mark.parametrize(("form", "module"), [("uvm", "peakrdl_uvm"), ("html", "peakrdl_html"), ("uvm", "systemrdl")])
def test_what_is_not_installed_is_named_with_its_extra(form, module, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    code, told = run(["registers", "--format", form, "-o", str(tmp_path / "out")], capsys)
    assert code == 2 and "pip install 'rlu-cosim[registers]'" in told.err and not (tmp_path / "out").exists()
