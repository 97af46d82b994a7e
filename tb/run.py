"""Runs a bench: compiles its block, simulates it, and says how to repeat a failure.

``python -m tb.run updater --config mixed --seed 17 --waves``; exit code 0 if every test of the bench passed,
1 if one failed, 2 for a mistake in the command.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.files import ToolMissing, write_atomically
from sim.simulators.build import SIMULATORS, BuildFailed, Simulator, simulation_child
from tb.kit.designs import BENCHES, ROOT, Bench, compiled

RESULTS = ROOT / "build" / "benches"
DEFAULT_SEED = 1
MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class Outcome:
    """Result of a bench run.

    Attributes:
        passed: every test of the bench passed, including the coverage gate.
        folder: folder with results.xml (JUnit), log, coverage.xml and, if asked for, dump.vcd.
        text: text to print: the coverage, and after a failure the reasons, the seed and the command that
            repeats it.
    """

    passed: bool
    folder: Path
    text: str


def run(
    bench: Bench,
    config: str,
    *,
    simulator: Simulator = "verilator",
    seed: int = DEFAULT_SEED,
    effort: int = 1,
    waves: bool = False,
    rtl: Path | None = None,
    out: Path | None = None,
    alongside: Iterable[str] | None = None,
) -> Outcome:
    """Run a bench in one configuration.

    Args:
        bench: the bench.
        config: name of one of its configurations.
        simulator: ``verilator`` or ``icarus``.
        seed: seed of the random stimulus.
        effort: factor on the number of random transactions.
        waves: write the waveform, dump.vcd (Verilator only).
        rtl: Verilog file to run instead of the generated one.
        out: folder in which the bench gets its own folder; default build/benches.
        alongside: see `tb.kit.designs.compiled`.

    Raises:
        ToolMissing, BuildFailed: if the simulator is missing or refuses the Verilog.
    """
    folder = (out or RESULTS) / "-".join([bench.name, config, *([simulator] if simulator != "verilator" else [])])
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("results.xml", "coverage.xml", "dump.vcd", "log"):
        (folder / name).unlink(missing_ok=True)
    build = compiled(bench, config, simulator, folder, waves=waves, rtl=rtl, alongside=alongside)
    command, environment = simulation_child(
        bench.module, bench.toplevel, build, folder, bench.environment(config, effort),
        simulator=simulator, seed=seed, waves=waves,
    )  # fmt: skip
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        check=False,
    )  # fmt: skip
    write_atomically(folder / "log", done.stdout)
    passed, failures = _read_results(folder / "results.xml")
    if done.returncode != 0 and not failures:
        failures = [f"the simulation ended with exit code {done.returncode}:", *done.stdout.splitlines()[-8:]]
    ok = not failures
    lines = _coverage_lines(done.stdout)
    title = f"bench {bench.name}, configuration {config}, {simulator}, seed {seed}"
    if ok:
        lines.append(f"{title}: {passed} tests passed")
    else:
        lines += [f"{title}: FAILED", *(f"  {line}" for line in failures)]
        lines.append(f"log: {_short(folder / 'log')}")
        lines.append(f"repeat: {repeat_command(bench, config, simulator, seed, effort, rtl)}")
    return Outcome(ok, folder, "\n".join(lines))


def repeat_command(bench: Bench, config: str, simulator: Simulator, seed: int, effort: int, rtl: Path | None) -> str:
    """The command that repeats a run of a bench, with waveforms if the simulator has them."""
    words = [_python(), "-m", "tb.run", bench.name, "--config", config, "--seed", str(seed)]
    if effort != 1:
        words += ["--effort", str(effort)]
    if rtl is not None:
        words += ["--rtl", str(rtl)]
    # Only Verilator writes VCD.
    words += ["--waves"] if simulator == "verilator" else ["--simulator", simulator]
    return shlex.join(words)


def _python() -> str:
    local = Path(".venv") / "bin" / "python"
    inside = (ROOT / local).exists() and Path(sys.prefix).resolve() == (ROOT / ".venv").resolve()
    return str(local) if inside else "python"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _read_results(path: Path) -> tuple[int, list[str]]:
    """Number of tests that passed, and the name and reason of each that failed."""
    if not path.exists():
        return 0, ["the simulation left no results"]
    passed, failures = 0, []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        failure = case.find("failure")
        if failure is None:
            failure = case.find("error")
        if failure is None:
            passed += 1
        else:
            failures.append(f"{case.get('name')}: {failure.get('error_msg') or failure.get('message') or ''}")
    if not passed and not failures:
        failures = ["the bench has no test"]
    return passed, failures


def _coverage_lines(log: str) -> list[str]:
    """The coverage report within the simulation's log."""
    lines = log.splitlines()
    for i, line in enumerate(lines):
        at = line.find("coverage of ")
        if at >= 0 and line.rstrip().endswith("%"):
            block = [line[at:]]
            for following in lines[i + 1 :]:
                if not following.startswith("  ") or ": " not in following:
                    break
                block.append(f"  {following.strip()}")  # the log indents all lines but the first
            return block
    return []


def listing() -> str:
    """Every bench with its configurations."""
    width = max(map(len, BENCHES))
    return "\n".join(f"{b.name:{width}}  {' '.join(b.configs):32}  {b.shows}" for b in BENCHES.values())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tb.run", description="Run a cocotb bench of the RL unit.")
    parser.add_argument("bench", nargs="?", help="name of the bench (see --list)")
    parser.add_argument("--config", help="configuration (default: each of the bench's, one after the other)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help=f"seed of the stimulus, 0..{MAX_SEED}")
    parser.add_argument("--effort", type=int, default=1, help="factor on the number of transactions, 1..1000")
    parser.add_argument("--simulator", default="verilator", help=f"one of: {', '.join(SIMULATORS)}")
    parser.add_argument("--waves", action="store_true", help="write the waveform as VCD (Verilator only)")
    parser.add_argument("--rtl", type=Path, help="Verilog file to run instead of the generated one")
    parser.add_argument("--list", action="store_true", help="list benches and configurations")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.list:
        print(listing())
        return 0
    try:
        bench, configs = _checked(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    code = 0
    for config in configs:
        try:
            outcome = run(
                bench, config, simulator=arguments.simulator, seed=arguments.seed, effort=arguments.effort,
                waves=arguments.waves, rtl=arguments.rtl,
            )  # fmt: skip
        except (ToolMissing, BuildFailed) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(outcome.text)
        if arguments.waves:
            print(f"waveform: {_short(outcome.folder / 'dump.vcd')}")
        code = code or (0 if outcome.passed else 1)
    return code


def _checked(arguments: argparse.Namespace) -> tuple[Bench, Sequence[str]]:
    if arguments.bench not in BENCHES:
        said = "no bench named" if arguments.bench is None else f"no bench {arguments.bench!r}"
        raise ValueError(f"{said}; there are:\n{listing()}")
    bench = BENCHES[arguments.bench]
    if arguments.config is not None and arguments.config not in bench.configs:
        there_are = ", ".join(bench.configs)
        raise ValueError(f"bench {bench.name} has no configuration {arguments.config!r}; there are: {there_are}")
    if arguments.simulator not in SIMULATORS:
        raise ValueError(f"--simulator must be one of {', '.join(SIMULATORS)}, not {arguments.simulator!r}")
    if arguments.waves and arguments.simulator != "verilator":
        raise ValueError(f"--waves needs --simulator verilator, not {arguments.simulator}")
    if not 0 <= arguments.seed <= MAX_SEED:
        raise ValueError(f"--seed must be in 0..{MAX_SEED}, not {arguments.seed}")
    if not 1 <= arguments.effort <= 1000:
        raise ValueError(f"--effort must be in 1..1000, not {arguments.effort}")
    if arguments.rtl is not None and not arguments.rtl.is_file():
        raise ValueError(f"--rtl: there is no file {arguments.rtl}")
    if arguments.rtl is not None and arguments.config is None:
        raise ValueError("--rtl needs --config: the file holds the block in that configuration")
    return bench, bench.configs if arguments.config is None else (arguments.config,)


if __name__ == "__main__":
    sys.exit(main())
