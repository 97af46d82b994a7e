"""Imports point one way, from room to room, and only what trains brings torch."""

import ast
import graphlib
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

PACKAGES = ("rtl", "sim", "tb", "algo")
#: Of the RTL, the host may know what a unit looks like from outside.
OUTSIDE = ("rtl.spec", "rtl.verilog", "rtl.flows.fpga", "rtl.flows.soc")
NOTHING = "nothing of ours"


def modules():
    """Every module of ours with its file, by name; a room is the name of its folder."""
    found = {}
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()
ROOMS = sorted(name for name, path in MODULES.items() if path.name == "__init__.py")


def imports(path):
    """Names of our modules that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in PACKAGES)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import: write the whole name"
            if (node.module or "").split(".")[0] in PACKAGES:
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (name if name in MODULES else node.module for name in whole)


def rules(room):
    """What the docstring of a room says may be imported: by the room's modules, or by one of them by name."""
    said = " ".join((importlib.import_module(room).__doc__ or "").split())
    found = {name: listed for name, listed in re.findall(r"`(\w+)` may import: ([^`]*?)\.(?= |$)(?! ?\w+\.)", said)}
    whole = re.search(r"May import: (.*?)\.$", said)
    return {f"{room}.{name}": names(listed) for name, listed in found.items()} | (
        {room: names(whole[1])} if whole else {}
    )


def names(listed):
    return () if listed == NOTHING else tuple(part.strip() for part in listed.split(","))


def within(name, allowed):
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def differences(room, allowed):
    """What modules of a room import and may not, and what they may import and do not; children of a room count too."""
    used = {owner: set() for owner in allowed}
    wrong = set()
    for name, path in MODULES.items():
        if name != room and (name.rpartition(".")[0] != room or name in ROOMS):
            continue
        owner = name if name in allowed else room
        assert owner in allowed or name == room, f"the docstring of {room} does not say what {name} may import"
        others = {one for one in imports(path) if one in ROOMS or one.rpartition(".")[0] != room or room not in allowed}
        others -= {room}
        used.setdefault(owner, set()).update(others)
        wrong |= {f"{name} -> {other}" for other in others if not within(other, allowed.get(owner, ()))}
    unused = {
        f"{owner} -> {one}"
        for owner, listed in allowed.items()
        for one in listed
        if not any(within(other, (one,)) for other in used[owner])
    }
    return wrong, unused


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_and_imports_what_it_may(room):
    said = importlib.import_module(room).__doc__ or ""
    assert len(said.splitlines()[0]) > 10, f"{room} does not say what it is"
    wrong, unused = differences(room, rules(room))
    assert not wrong, f"imports that the docstring of {room} does not allow: {wrong}"
    assert not unused, f"permissions in the docstring of {room} that nothing needs: {unused}"


def test_a_permission_too_few_or_too_many_is_noticed():
    wrong, unused = differences("algo.nets", {"algo.nets": (*rules("algo.nets")["algo.nets"], "algo.chips")})
    assert not wrong and unused == {"algo.nets -> algo.chips"}
    wrong, _ = differences("algo.nets", {"algo.nets": ("sim", "algo.support", "algo.space")})
    assert wrong == {"algo.nets.registry -> algo.nets.models"}  # a child room
    wrong, _ = differences("sim", {**rules("sim"), "sim.lockstep": ("rtl.spec", "sim")})
    assert not wrong
    wrong, unused = differences("sim", {**rules("sim"), "sim.files": ()})
    assert wrong == {"sim.files -> rtl.files"} and not unused


def test_nothing_imports_in_a_circle():
    """Neither modules nor rooms; a module at the top of a package is a room of its own."""

    def room_of(name):
        room = name if name in ROOMS else name.rpartition(".")[0]
        return name if room in PACKAGES else room

    graph = {name: set(imports(path)) - {name} for name, path in MODULES.items()}
    tuple(graphlib.TopologicalSorter(graph).static_order())
    rooms = {}
    for name, others in graph.items():
        rooms.setdefault(room_of(name), set()).update(
            room_of(other) for other in others if room_of(other) != room_of(name)
        )
    tuple(graphlib.TopologicalSorter(rooms).static_order())


def test_tests_stand_in_rooms_of_the_code():
    folders = {path.relative_to(ROOT / "tests").parent for path in (ROOT / "tests").rglob("test_*.py")}
    strange = {str(folder) for folder in folders if ".".join(folder.parts) not in {*ROOMS, "repo"}}
    assert not strange, f"tests stand in folders that the code does not have: {strange}"


def test_packages_point_one_way_and_the_host_sees_the_unit_from_outside():
    below = {"rtl": {"rtl"}, "sim": {"rtl", "sim"}, "tb": {"rtl", "sim", "tb"}, "algo": {"rtl", "sim", "algo"}}
    for name, path in MODULES.items():
        package = name.split(".")[0]
        for other in imports(path):
            assert other.split(".")[0] in below[package], f"{name} imports {other}"
            if package == "algo" and other.startswith("rtl"):
                assert within(other, OUTSIDE), f"{name} looks inside the RTL: {other}"


def test_a_wrong_import_is_noticed(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from rtl.unit import core\n    import sim.files\n")
    assert set(imports(path)) == {"rtl.unit.core", "sim.files"}
    assert not within("rtl.unit.core", rules("rtl.spec")["rtl.spec"]) and within("rtl.spec.params", ("rtl.spec",))
    assert rules("sim")["sim.files"] == ("rtl.files",) and rules("rtl")["rtl.files"] == ()


@pytest.mark.parametrize(
    "module", ["algo.cli", "sim.lockstep", "sim.devices.driver", "algo.search.loop", "algo.runs.run_folder"]
)
def test_starts_without_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_configuration_starts_without_numpy_too_and_brings_no_torch_when_made():
    code = (
        "import sys; from algo.runs.config import TuneConfig\n"
        "assert not {'numpy', 'torch'} & set(sys.modules)\n"
        "TuneConfig.of(method='tpe'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_help_brings_neither_numpy_nor_amaranth():
    code = (
        "import sys; from algo.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'numpy', 'amaranth', 'torch', 'cocotb'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True).returncode == 0


def test_nothing_needs_files_outside_the_project():
    sources = [path for package in (*PACKAGES, "tests", "docs") for path in (ROOT / package).rglob("*.py")]
    for path in [*sources, ROOT / "Makefile", ROOT / ".ci" / "run"]:
        if path != Path(__file__):
            assert "../shared" not in path.read_text(), path
