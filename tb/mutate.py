"""Mutation coverage: Yosys puts small faults into the RTL, one at a time, and the benches must notice each.

``python -m tb.mutate`` prints a table; exit code 0 if enough mutants are killed and every survivor is explained,
1 if not, 2 for a mistake in the command. Results are kept, so an interrupted run can resume.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from sim.files import scratch_folder, write_atomically
from sim.simulators.build import built, simulation_child, tool_environment
from tb.kit.designs import BENCHES, CONFIGS, LOCKSTEP, ROOT
from tb.mutation.mutants import SEED, Mutant, Mutated, mutated, yosys

EXPLAINED = ROOT / "tb" / "mutation" / "mutants.toml"
#: Number of mutants of a block, and of larger ones.
PER_BLOCK = 30
LARGER = {"register_file": 50, "reward": 50, "updater": 40, "sampler": 40, "rlu": 50, "episodes": 50, "planning": 100}
LARGER |= dict.fromkeys(LOCKSTEP, 100)
REQUIRED_PERCENT = 95.0
#: A survivor is tried again with different stimulus: seed and effort of the bench.
RETRIES = ((2, 3), (3, 3))
PROOF_SECONDS = 20
#: Exit codes of a lockstep that has noticed a mutant: it diverged, or GNU timeout had to end it.
DIVERGED = 3
NOTICED = (DIVERGED, 124, 137)

State = Literal["bench", "retry", "lockstep", "proven", "explained", "survived"]
KILLED: tuple[State, ...] = ("bench", "retry", "lockstep")


class Hunt:
    """Runs the mutants of one block."""

    def __init__(self, block: Mutated, jobs: int, progress: Callable[[], object] = lambda: None) -> None:
        self.block, self.jobs, self.progress = block, jobs, progress
        self.results = block.folder / "results.jsonl"
        self.limit_s = 600.0

    def run(self) -> dict[int, State]:
        """How each mutant ended, by number.

        Raises:
            RuntimeError: if the bench fails without any mutant.
        """
        ended = self._known()
        if len(ended) < len(self.block.mutants):
            # Without the unfinished line of an interrupted run.
            write_atomically(self.results, "".join(json.dumps(item) + "\n" for item in ended.items()))
            build = self._build(self.block.bench.toplevel)
            began = time.monotonic()
            if self._notices(build, 0):
                raise RuntimeError(self._fails_by_itself())
            # A mutant that hangs the bench counts as noticed.
            self.limit_s = 60 + 10 * (time.monotonic() - began)
            todo = [mutant for mutant in self.block.mutants if mutant.number not in ended]
            with ThreadPoolExecutor(self.jobs) as pool:
                for mutant, state in zip(todo, pool.map(lambda m: self._fate(build, m), todo), strict=True):
                    ended[mutant.number] = state
        return ended

    def _fate(self, build: Path, mutant: Mutant) -> State:
        state = self._hunt(build, mutant)
        with self.results.open("a") as file:
            file.write(json.dumps([mutant.number, state]) + "\n")
        self.progress()
        return state

    def _hunt(self, build: Path, mutant: Mutant) -> State:
        if self._notices(build, mutant.number):
            return "bench"
        if _proven_equivalent(self.block, mutant):
            return "proven"
        if any(self._bench_notices(build, mutant.number, seed, effort) for seed, effort in RETRIES):
            return "retry"
        if self.block.bench.module == "tb.benches.rlu" and self._lockstep_notices(mutant.number):
            return "lockstep"
        return "survived"

    def _notices(self, build: Path, number: int) -> bool:
        """Whether the first try notices a mutant; number 0 is the block without a fault."""
        return self._bench_notices(build, number, 1, 1)

    def _fails_by_itself(self) -> str:
        return f"the bench {self.block.bench.name} fails without a mutant; see `python -m tb.run`"

    def _known(self) -> dict[int, State]:
        if not self.results.exists():
            return {}
        lines = [line for line in self.results.read_text().splitlines() if line.endswith("]")]
        return {number: state for number, state in map(json.loads, lines)}

    def _build(self, top: str) -> Path:
        return built(self.block.verilog, "verilator", toplevel=top, name=f"mutants-{self.block.bench.name}", quick=True)

    def _bench_notices(self, build: Path, number: int, seed: int, effort: int) -> bool:
        with scratch_folder("rlu-mutant-") as folder:
            bench = self.block.bench
            variables = bench.environment(self.block.config, effort) | {
                "RLU_MUTANT": str(number),
                "COCOTB_MAX_FAILURES": "1",
                "COCOTB_LOG_LEVEL": "WARNING",
            }
            child = simulation_child(bench.module, bench.toplevel, build, folder, variables, seed=seed)
            return not self._succeeds(*child)

    def _lockstep_notices(self, number: int) -> bool:
        environment = tool_environment("verilator") | {"RLU_MUTANT": str(number)}
        command = [sys.executable, "-m", "tb.mutate", "--lockstep", self.block.config, str(self.block.verilog)]
        done = self._limited(command, environment)
        if done.returncode and done.returncode not in NOTICED:  # no verdict at all, and no catch
            raise RuntimeError(f"lockstep with mutant {number} ended by itself:\n{done.stderr.decode()[-500:]}")
        return done.returncode != 0

    def _succeeds(self, command: Sequence[str], environment: dict[str, str]) -> bool:
        return self._limited(command, environment).returncode == 0

    def _limited(self, command: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
        # GNU timeout ends the whole process group, including the simulator.
        limited = ["timeout", "-k", "2", f"{self.limit_s:.0f}", *command]
        return subprocess.run(
            limited, env=environment, cwd=ROOT, capture_output=True, stdin=subprocess.DEVNULL, check=False
        )


class LockstepHunt(Hunt):
    """Runs the mutants of the whole unit against lockstep alone, like `rlu lockstep`."""

    def _build(self, top: str) -> Path:
        return self.block.folder  # lockstep builds for itself, the first time

    def _notices(self, build: Path, number: int) -> bool:
        return self._lockstep_notices(number)

    def _fails_by_itself(self) -> str:
        return "lockstep diverges without a mutant; see `rlu lockstep`"

    def _hunt(self, build: Path, mutant: Mutant) -> State:
        if self._notices(build, mutant.number):
            return "lockstep"
        return "proven" if _proven_equivalent(self.block, mutant) else "survived"


def _proven_equivalent(block: Mutated, mutant: Mutant) -> bool:
    """Whether Yosys proves by induction that the mutated module never differs, for any inputs.

    From equal states, no output differs, and no register that an output depends on. The surviving simulation has
    shown that both start in equal states. Parts that optimise to the same cells, such as multipliers, need no solver.
    """
    module = mutant.option("module")
    prepared = [f"hierarchy -top {module}", "flatten", "memory_map", "opt_clean"]
    with scratch_folder("rlu-proof-") as folder:
        shutil.copy(block.folder / "base.il", folder)
        script = [
            "read_rtlil base.il", *prepared, f"rename {module} gold", "design -stash gold",
            "read_rtlil base.il", f"mutate {mutant.arguments}", *prepared, f"rename {module} gate",
            "design -stash gate", "design -copy-from gold -as gold gold", "design -copy-from gate -as gate gate",
            "equiv_make gold gate equiv", "hierarchy -top equiv", "opt_expr -full", "opt -full", "equiv_struct",
            "equiv_simple -seq 2", "equiv_induct -seq 3", "equiv_status -assert",
        ]  # fmt: skip
        try:
            yosys(folder, *script, limit_s=PROOF_SECONDS)
        except (RuntimeError, subprocess.TimeoutExpired):
            return False
    return True


def explanations(path: Path = EXPLAINED) -> list[dict[str, str]]:
    """The checked-in table of harmless survivors, each with its reason.

    Raises:
        ValueError: for an entry that lacks something.
    """
    entries = tomllib.loads(path.read_text())["mutant"] if path.exists() else []
    for entry in entries:
        if set(entry) != {"block", "source", "cell", "port", "fault", "reason"} or not entry["reason"]:
            raise ValueError(f"{path.name}: an entry needs block, source, cell, port, fault and reason: {entry}")
    return list(entries)


def explained(mutant: Mutant, entries: Iterable[dict[str, str]]) -> bool:
    """Whether a survivor is in the table."""
    return any(all(entry[name] == value for name, value in mutant.key.items()) for entry in entries)


@dataclass(frozen=True)
class Tally:
    """How the mutants of a block ended."""

    block: str
    states: Counter[str]

    @property
    def mutants(self) -> int:
        """All mutants."""
        return self.states.total()

    @property
    def killed(self) -> int:
        """Mutants that a simulation noticed."""
        return sum(self.states[state] for state in KILLED)

    @property
    def percent(self) -> float:
        """Percentage of killed mutants, among those that are not proven to be harmless."""
        counted = self.mutants - self.states["proven"]
        return 100.0 * self.killed / counted if counted else 100.0


def table(tallies: Sequence[Tally]) -> str:
    """The result: a line for each block, and one for all."""
    columns = ("bench", "retry", "lockstep", "proven", "explained", "survived")
    total = Tally("all", sum((tally.states for tally in tallies), Counter()))
    lines = [f"{'block':14} {'mutants':>7} " + " ".join(f"{name:>9}" for name in columns) + f" {'killed':>8}"]
    for tally in [*tallies, total]:
        counts = " ".join(f"{tally.states[name]:>9}" for name in columns)
        lines.append(f"{tally.block:14} {tally.mutants:>7} {counts} {tally.percent:>7.1f}%")
    return "\n".join(lines)


def verdict(tallies: Sequence[Tally], survivors: Sequence[Mutant]) -> list[str]:
    """Everything that is not good enough; empty if all is well."""
    total = Tally("all", sum((tally.states for tally in tallies), Counter()))
    complaints = []
    if total.percent < REQUIRED_PERCENT:
        complaints.append(f"{total.percent:.1f} % of the mutants are killed, {REQUIRED_PERCENT:g} % are required")
    if survivors:
        complaints.append(
            f"{len(survivors)} survived without explanation; add a testpoint, or a reason to {EXPLAINED.name}:"
        )
        complaints += [f"  {mutant}" for mutant in survivors]
    return complaints


def run(blocks: Iterable[str], count: int | None, jobs: int, seed: int = SEED) -> tuple[list[Tally], list[str]]:
    """Try the mutants of some blocks; returns how they ended, and what is wrong."""
    entries = explanations()
    tallies: list[Tally] = []
    survivors: list[Mutant] = []
    failures: list[str] = []
    for name in blocks:
        block = mutated((BENCHES | LOCKSTEP)[name], count or LARGER.get(name, PER_BLOCK), seed)
        hunt = LockstepHunt if name in LOCKSTEP else Hunt
        with tqdm(total=len(block.mutants), desc=name, unit="mutant", disable=None, file=sys.stderr) as bar:
            try:
                ended = hunt(block, jobs, bar.update).run()
            except RuntimeError as error:
                failures.append(str(error))
                continue
        states: Counter[str] = Counter()
        for mutant in block.mutants:
            state = ended[mutant.number]
            if state == "survived" and explained(mutant, entries):
                state = "explained"
            elif state == "survived":
                survivors.append(mutant)
            states[state] += 1
        tallies.append(Tally(name, states))
        print(table(tallies).splitlines()[-2], flush=True)
    return tallies, failures + verdict(tallies, survivors)


def lockstep(config: str, verilog: Path) -> int:
    """Run `rlu lockstep --rtl` on the mutant that the environment names; exit code `DIVERGED` if it is noticed."""
    from sim.lockstep import run as run_lockstep

    report = run_lockstep(CONFIGS[config], verilog=verilog)
    print(report.divergence or "identical")
    return 0 if report.identical else DIVERGED


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="tb.mutate", description="Mutation coverage of the cocotb benches.")
    parser.add_argument(
        "block",
        nargs="*",
        help=f"blocks, of: {', '.join(BENCHES)} (default: all); with "
        f"lockstep: {', '.join(LOCKSTEP)} (default: the first)",
    )
    parser.add_argument("--count", type=int, help="mutants of every block (default: as many as `make mutate` has)")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed gives other mutants")
    parser.add_argument(
        "--with",
        dest="judge",
        choices=("benches", "lockstep"),
        default="benches",
        help="who must notice: each block's bench, or only lockstep of the whole unit",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="simulations at a time")
    parser.add_argument("--lockstep", nargs=2, metavar=("CONFIG", "VERILOG"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.lockstep:
        return lockstep(arguments.lockstep[0], Path(arguments.lockstep[1]))
    blocks = BENCHES if arguments.judge == "benches" else LOCKSTEP
    unknown = [name for name in arguments.block if name not in blocks]
    if unknown or (arguments.count is not None and arguments.count < 1) or arguments.jobs < 1:
        said = (
            f"no block {unknown[0]!r}; there are: {', '.join(blocks)}"
            if unknown
            else "--count and --jobs must be at least 1"
        )
        print(f"error: {said}", file=sys.stderr)
        return 2
    chosen = arguments.block or (BENCHES if arguments.judge == "benches" else ["lockstep"])
    tallies, complaints = run(chosen, arguments.count, arguments.jobs, arguments.seed)
    print("\n" + table(tallies))
    print("\n".join(complaints), end="\n" if complaints else "")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
