"""Child process for cocotb's runner: keeps its exits, prints and environment away from the host."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from cocotb_tools import config
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import VerilatorControlFile, get_runner

from sim.files import plain_path


def build(arguments: dict[str, Any]) -> None:
    """Compile a Verilog file; SystemExit with a non-zero code if it is refused."""
    is_verilator = arguments["simulator"] == "verilator"
    sources: list[Any] = [Path(arguments["source"])]
    flags = ["-Wno-fatal", "-Wno-lint", "-Wno-style", "-O3"]
    if is_verilator and arguments["ports"]:
        # Signals that Python can reach are not optimised away, so Python gets only the unit's ports.
        control = Path(arguments["build_dir"]) / "ports.vlt"
        lines = [f'public_flat_rw -module "{arguments["toplevel"]}" -var "{port}"' for port in arguments["ports"]]
        control.write_text("\n".join(["`verilator_config", *lines, ""]))
        sources.append(VerilatorControlFile(control))
        flags.append("--no-public-flat-rw")
    if arguments.get("coverage"):
        flags += ["--coverage-line", "--coverage-toggle"]
    # The runner writes these paths into a makefile.
    config.share_dir, config.libs_dir = plain_path(config.share_dir), plain_path(config.libs_dir)
    get_runner(arguments["simulator"]).build(
        sources=sources,
        hdl_toplevel=arguments["toplevel"],
        build_dir=arguments["build_dir"],
        # Lint is a separate test; the warnings that Amaranth's output always causes must not stop a simulation.
        build_args=flags if is_verilator else [],
        timescale=("1ns", "1ps"),
        waves=arguments["waves"],
    )


def test(arguments: dict[str, Any]) -> None:
    """Run a cocotb module on a compiled design; exit code 1 if a test in it failed."""
    # The simulation was linked with a path of cocotb's libraries that may no longer exist.
    libraries = {"LD_LIBRARY_PATH": os.pathsep.join([str(plain_path(config.libs_dir)), *_libraries()])}
    results = get_runner(arguments["simulator"]).test(
        test_module=arguments["module"],
        hdl_toplevel=arguments["toplevel"],
        hdl_toplevel_lang="verilog",
        build_dir=arguments["build_dir"],
        test_dir=arguments["test_dir"],
        seed=arguments["seed"],
        results_xml=arguments["results_xml"],
        extra_env=libraries | arguments["environment"],
        waves=arguments["waves"],
    )
    _, failed = get_results(results)
    sys.exit(1 if failed else 0)


def _libraries() -> list[str]:
    return [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if path]


if __name__ == "__main__":
    {"build": build, "test": test}[sys.argv[1]](json.loads(sys.argv[2]))
