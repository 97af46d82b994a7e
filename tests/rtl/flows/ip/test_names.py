"""Units of different parameters in one design, which a prefix keeps apart; and what a name may be."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from algo.cli import main
from rtl.flows.ip.package import files
from rtl.spec.names import renamed
from rtl.spec.params import RLUParams
from rtl.verilog import generate
from sim.ip_package import rivals, write
from sim.simulators.build import tool_environment
from tests.places import ROOT
from tests.require import require_command

LEFT, RIGHT = RLUParams(states=16, actions=4), RLUParams(states=9, actions=3)
STRANGER = {"PATH": "/usr/local/bin:/usr/bin:/bin"}

#: Both benches at once: each ends the simulation when it passes, so the first waits for the other.
BOTH = """\
module both;
  left_tb left();
  right_tb right();
endmodule
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A folder with a package `left` and a package `right`."""
    folder = tmp_path_factory.mktemp("library")
    write(LEFT, "axi4lite", folder / "left", clock_mhz=80.0, name="left")
    write(RIGHT, "axi4lite", folder / "right", clock_mhz=80.0, name="right")
    return folder


def both_benches(library, folder, *options):
    """Compile both benches and units into one simulation and run it."""
    (folder / "both.v").write_text(BOTH)
    for side in ("left", "right"):
        bench = (library / side / "bench" / f"{side}_tb.v").read_text()
        text, ends = re.subn(r"\$finish;", "left_or_right_done = 1;", bench)
        assert ends == 1
        text = text.replace("  integer checks = 0;", "  reg left_or_right_done = 0;\n  integer checks = 0;")
        text = text.replace("waited == 10000", "!left_or_right_done && waited == 10000")
        (folder / f"{side}_tb.v").write_text(text)
    (folder / "both.v").write_text(
        BOTH.replace(
            "endmodule",
            "  always @(posedge left.clk) if (left.left_or_right_done && right.left_or_right_done) $finish;\nendmodule",
        )
    )
    includes = [part for side in ("left", "right") for part in ("-I", library / side, "-I", library / side / "bench")]
    units = [library / side / f"{side}_axi4lite.v" for side in ("left", "right")]
    benches = [folder / name for name in ("both.v", "left_tb.v", "right_tb.v")]
    models = sorted(library.glob("*/bench/CCU2C.v")) + sorted(library.glob("*/bench/*_sram.v"))
    command = [require_command("iverilog", "iverilog"), "-g2012", "-s", "both", *includes, "-o", folder / "both.vvp"]
    compiled = subprocess.run(
        [*command, *benches, *units, *models], env=STRANGER, capture_output=True, text=True, check=False
    )
    if compiled.returncode != 0:
        return compiled
    return subprocess.run(
        ["vvp", "-n", folder / "both.vvp"], env=STRANGER, capture_output=True, text=True, check=False, timeout=120
    )


def test_two_units_are_simulated_in_one_design(library, tmp_path):
    done = both_benches(library, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = [int(found) for found in re.findall(r"^PASS: (\d+) checks$", done.stdout, re.MULTILINE)]
    assert len(counts) == 2 and counts[0] != counts[1] and min(counts) > 150


@pytest.mark.parametrize("technology", ["ecp5", "sram"])
def test_two_units_of_a_technology_share_a_design_too(technology, tmp_path):
    """Both bring a model of the technology's cells."""
    write(LEFT, "axi4lite", tmp_path / "left", clock_mhz=80.0, name="left", technology=technology)
    write(RIGHT, "axi4lite", tmp_path / "right", clock_mhz=80.0, name="right", technology=technology)
    done = both_benches(tmp_path, tmp_path)
    assert done.returncode == 0 and done.stdout.count("PASS: ") == 2, done.stdout + done.stderr


def test_two_units_of_one_name_are_refused_by_icarus(tmp_path):
    """What the prefix is for."""
    for params, side in ((LEFT, "left"), (RIGHT, "right")):
        (tmp_path / f"{side}.v").write_text(generate(params, "axi4lite"))
    command = [
        require_command("iverilog", "iverilog"),
        "-o",
        tmp_path / "out",
        tmp_path / "left.v",
        tmp_path / "right.v",
    ]
    done = subprocess.run(command, env=STRANGER, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "rlu_axi4lite" in done.stderr


#: Yosys in a process of its own, because an error ends it.
ELABORATE = """
import sys
from pyosys import libyosys as ys
design = ys.Design()
for command in ("read_verilog " + " ".join(sys.argv[1:]), "hierarchy -check -top both", "proc", "check -assert"):
    ys.run_pass(command, design)
"""


def test_yosys_elaborates_two_units_in_one_design(library, tmp_path):
    top = "module both(input clk, input rst, output a, output b);\n"
    for side, out in (("left", "a"), ("right", "b")):
        top += f"  {side}_axi4lite {side}(.clk(clk), .rst(rst), .busy({out}));\n"
    (tmp_path / "both.v").write_text(top + "endmodule\n")
    sources = [tmp_path / "both.v", *(library / side / f"{side}_axi4lite.v" for side in ("left", "right"))]

    def elaborated(files):
        command = [sys.executable, "-c", ELABORATE, *map(str, files)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = elaborated(sources)
    assert "Found and reported 0 problems" in done.stdout, done.stdout[-2000:] + done.stderr
    (tmp_path / "again.v").write_text(sources[1].read_text())
    assert "Re-definition of module" in (again := elaborated([*sources, tmp_path / "again.v"])).stdout + again.stderr


PROGRAM = """\
#include <stdio.h>
#include "left.h"
#include "right.h"

static uint32_t nothing(void *context, uint32_t offset) { (void)context; (void)offset; return 0; }
static void ignore(void *context, uint32_t offset, uint32_t word) { (void)context; (void)offset; (void)word; }

int main(void)
{
    const left_unit one = {nothing, ignore, NULL, NULL, 0};
    const right_unit other = {nothing, ignore, NULL, NULL, 0};

    printf("%d %d %d %d\\n", LEFT_PARAM_STATES, RIGHT_PARAM_STATES, left_open(&one) == LEFT_NO_UNIT,
           right_open(&other) == RIGHT_NO_UNIT);
    return 0;
}
"""


@pytest.mark.parametrize("compiler", ["gcc", "g++"])
def test_two_drivers_are_compiled_into_one_program(library, compiler, tmp_path):
    (tmp_path / "main.c").write_text(PROGRAM)
    sides = [library / side for side in ("left", "right")]
    includes = [part for side in sides for part in ("-I", side, "-I", side / "driver")]
    sources = [tmp_path / "main.c", *(side / "driver" / f"{side.name}.c" for side in sides)]
    standard = ["-std=c11"] if compiler == "gcc" else []
    command = [require_command(compiler, compiler), *standard, "-Wall", "-Wextra", "-Werror", *includes]
    subprocess.run([*command, *sources, "-o", tmp_path / "both"], check=True)
    assert subprocess.run([tmp_path / "both"], capture_output=True, text=True, check=True).stdout == "16 9 1 1\n"


def fusesoc(library, folder, core):
    command = [sys.executable, "-m", "fusesoc.main", "--cores-root", str(library), "run", "--target=sim", core]
    environment = tool_environment("icarus")
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_fusesoc_takes_two_units_from_one_library(library, tmp_path):
    pytest.importorskip("fusesoc")
    counts = set()
    for side in ("left", "right"):
        core = yaml.safe_load((library / side / f"{side}.core").read_text())["name"]
        done = fusesoc(library, tmp_path, core)
        assert done.returncode == 0 and "Replacing" not in done.stderr, done.stdout + done.stderr
        counts |= set(re.findall(r"PASS: (\d+) checks", done.stdout))
    assert len(counts) == 2


def test_of_two_units_of_one_name_fusesoc_takes_one_so_the_command_warns(tmp_path, capsys):
    pytest.importorskip("fusesoc")
    size = {"one": ["--states", "16", "--actions", "4"], "two": ["--states", "9", "--actions", "3"]}
    for folder, arguments in size.items():
        main(["verilog", *arguments, "--clock", "80", "-o", str(tmp_path / folder)])
    said = capsys.readouterr().err
    assert f"{tmp_path / 'one'} holds another unit under the name 'rlu'" in said and "give one of them a --name" in said
    core = yaml.safe_load((tmp_path / "one" / "rlu.core").read_text())["name"]
    assert f"Replacing {core}" in fusesoc(tmp_path, tmp_path, core).stderr
    # The same again, or a unit of another name, is no rival.
    main(["verilog", *size["one"], "--clock", "80", "-o", str(tmp_path / "another" / "one")])
    main(["verilog", *size["one"], "--clock", "80", "-o", str(tmp_path / "another" / "same")])
    main(["verilog", *size["two"], "--clock", "80", "--name", "two", "-o", str(tmp_path / "another" / "two")])
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["left", "rlu_a", "rlu0", "Core", "clk"])
@pytest.mark.parametrize("bus", ["none", "axi4lite"])
def test_nothing_keeps_the_old_prefix(name, bus, tmp_path):
    write(RIGHT, bus, tmp_path, clock_mhz=80.0, name=name)
    own = rf"{name}|{name.upper()}"
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        assert not re.match(rf"(?!{own})rlu", path.name, re.IGNORECASE), path
        if path.name != "LICENSE":
            old = re.findall(
                rf"(?<![\w.])(?!(?:{own})(?![a-z]))rlu(?:_\w+|\.(?!core\.)\w+)"
                rf"|(?<!\w)(?!(?:{own})(?![a-z]))RLU(?:_\w+|(?=[<\"]))",
                path.read_text(),
            )
            assert not old, (path.name, old[:5])


def test_the_prefix_changes_nothing_else(library):
    assert generate(LEFT, "axi4lite", name="left") == generate(LEFT, "axi4lite").replace(
        "rlu_axi4lite", "left_axi4lite"
    )
    text = (ROOT / "rtl" / "flows" / "ip" / "shipped" / "rlu.h").read_text()
    assert renamed(text, "rlu") == text != renamed(text, "left")
    assert renamed(renamed(text, "left"), "left") == renamed(text, "left")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "the name must be an identifier"),
        ("2nd", "the name must be an identifier"),
        ("a-b", "the name must be an identifier"),
        ("../up", "the name must be an identifier"),
        ("a__b", "the name must be an identifier"),
        ("_a", "the name must be an identifier"),
        ("a_", "the name must be an identifier"),
        ("é", "the name must be an identifier"),
        ("a" * 65, "the name must be an identifier"),
        *((word, f"the name '{word}' is a reserved word") for word in ("module", "logic", "int", "class", "Module")),
    ],
)
@pytest.mark.parametrize("output", ["ip", "rlu.v", None])
def test_a_name_that_is_none_is_refused(name, said, output, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(["verilog", "--states", "4", "--actions", "3", "--name", name, *(["-o", output] if output else [])])
    assert exit_.value.code == 2 and said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "technology", "said"),
    [
        ("example", "generic", "a second file driver/example.c"),
        ("manifest", "generic", "a second file manifest.json"),
        ("Manifest", "generic", "a second file manifest.json"),
        ("registered", "generic", "a second module registered"),
        ("CCU2C", "ecp5", "a second module CCU2C"),
        *((name, "generic", f"the name '{name}' is that of a header") for name in ("errno", "stdint", "sem", "StdIO")),
    ],
)
def test_a_name_that_the_package_or_c_needs_is_refused(name, technology, said, tmp_path, capsys):
    size = ["--states", "4", "--actions", "3", "--clock", "80"]
    with pytest.raises(SystemExit) as exit_:
        main(["verilog", *size, "--technology", technology, "--name", name, "-o", str(tmp_path / "ip")])
    told = capsys.readouterr().err
    assert exit_.value.code == 2 and said in told and told.endswith("take another one\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("technology", ["generic", "ecp5", "sram"])
def test_the_name_of_any_file_or_module_of_a_package_gives_a_whole_package_or_none(technology):
    """Whatever the package has: nothing is lost, and no two modules have one name."""
    options = {"clock_mhz": 80.0, "technology": technology}
    usual = files(RIGHT, "none", [], **options)
    names = {Path(path).name.partition(".")[0] for path in usual}
    names |= set(re.findall(r"^module (\w+)", "\n".join(usual.values()), re.MULTILINE))
    refused = set()
    for name in sorted(names - {"README", "rlu"}):
        try:
            made = files(RIGHT, "none", [], name=name, **options)
        except ValueError:
            refused.add(name)
            continue
        assert len(made) == len(usual), name
        modules = re.findall(r"^module (\\\S+|\w+)", "\n".join(made.values()), re.MULTILINE)
        assert len(set(modules)) == len(modules), name
    own = {"generic": {"registered"}, "ecp5": {"registered", "CCU2C"}, "sram": set()}[technology]
    assert refused == {"example"} | own


@pytest.mark.parametrize(
    ("one", "two", "warned"),
    [
        (("u", "apb", LEFT), ("u", "wishbone", RIGHT), True),
        (("u", "apb", LEFT), ("U", "apb", LEFT), True),
        (("u", "apb", LEFT), ("u", "wishbone", LEFT), False),
        (("u", "apb", LEFT), ("v", "apb", RIGHT), False),
    ],
    ids=["header", "case", "bus", "name"],
)
def test_whether_two_packages_share_names_is_known(one, two, warned, tmp_path):
    for folder, (name, bus, params) in (("one", one), ("two", two)):
        write(params, bus, tmp_path / folder, clock_mhz=80.0, name=name)
    assert rivals(tmp_path / "two") == [tmp_path / "one"] * warned


def test_a_single_file_gets_the_name_too(tmp_path):
    main(["verilog", "--states", "4", "--actions", "3", "--bus", "apb", "--name", "left", "-o", str(tmp_path / "u.v")])
    assert "\nmodule left_apb(" in (tmp_path / "u.v").read_text()
    assert '"module": "left_apb"' in (tmp_path / "u.json").read_text()
