"""Mutation coverage: small faults put into the RTL by Yosys, one at a time; the benches must notice each.

``python -m tb.mutate`` prints a table; exit code 0 if enough mutants are killed and every survivor is accounted
for, 1 if not, 2 for a mistake in the command. What has been found out is kept: a run that was cut off goes on.

All mutants of a block are compiled into one simulation, in which the environment variable RLU_MUTANT picks one of
them; 0 is the block as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import linecache
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from amaranth.back import rtlil
from tqdm import tqdm

from sim.build import built, child_command, tool_environment
from sim.files import cache_dir, write_atomically
from tb.designs import BENCHES, CONFIGS, ROOT, Bench, SideBySide

EXPLAINED = ROOT / "tb" / "mutants.toml"
#: Mutants of a block, and of those that are larger.
PER_BLOCK = 40
LARGER = {"register_file": 60, "reward": 60, "updater": 50, "sampler": 50, "rlu": 60}
#: Parts of a block that are mutated with their own bench, by the end of their instance name.
ELSEWHERE = {
    "rlu": r"\.(registers|core\..*)",
    "axi4lite": r"\.rlu(\..*)?",
    "wishbone": r"\.rlu(\..*)?",
    "updater": r"\.reader\.row_max",
    "sampler": r"\.reader(\..*)?",
}
REQUIRED_PERCENT = 95.0
SEED = 1
#: A survivor is tried again with other stimulus: seed and effort of the bench, then episodes of lockstep.
RETRIES = ((2, 3), (3, 3))
EPISODES = 300
PROOF_SECONDS = 120

State = Literal["bench", "retry", "lockstep", "proven", "explained", "survived"]
KILLED: tuple[State, ...] = ("bench", "retry", "lockstep")


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        block: name of the bench whose block it is in.
        number: its value of RLU_MUTANT, from 1.
        arguments: those of Yosys's ``mutate``.
        kind: type of the cell it is at.
        source: text of the line of RTL that the cell comes from.
        place: file and number of that line.
    """

    block: str
    number: int
    arguments: str
    kind: str
    source: str
    place: str

    def option(self, name: str) -> str:
        """Value of one of the arguments, empty if it is not there."""
        found = re.search(rf"-{name} (\S+)", self.arguments)
        return found.group(1) if found else ""

    @property
    def key(self) -> dict[str, str]:
        """What identifies it over changes elsewhere: block, line of RTL, kind of cell, port with bit, fault."""
        port = f"{self.option('port').removeprefix(chr(92))}[{self.option('portbit')}]"
        control = self.option("ctrlbit")
        mode = self.option("mode") + (f"[{control}]" if self.option("mode").startswith("cnot") else "")
        return {"block": self.block, "source": self.source, "cell": self.kind, "port": port, "fault": mode}

    def __str__(self) -> str:
        key = self.key
        return (
            f"{self.block} {self.number}: {key['fault']} at {key['port']} of {self.kind}, {self.place}: {self.source}"
        )


@dataclass(frozen=True)
class Mutated:
    """A block with its mutants.

    Attributes:
        bench: the bench of the block.
        config: configuration it is made in.
        folder: ``base.il`` (the block as it is), ``mutated.v`` (with all mutants), results.
        mutants: the faults.
    """

    bench: Bench
    config: str
    folder: Path
    mutants: tuple[Mutant, ...]

    @property
    def verilog(self) -> Path:
        """The Verilog with all mutants."""
        return self.folder / "mutated.v"


def config_of(bench: Bench) -> str:
    """Configuration in which a block is mutated: short numbers, where corners are met all the time."""
    return "narrow" if "narrow" in bench.configs else bench.configs[0]


def mutated(bench: Bench, count: int, seed: int = SEED) -> Mutated:
    """Put ``count`` mutants into a block, evenly over its parts; the same arguments give the same ones."""
    config = config_of(bench)
    top = SideBySide({config: bench.instance(CONFIGS[config])})
    # Without the place of the checkout, so that what is known holds in any.
    text = str(rtlil.convert(top, name=bench.toplevel, emit_src=True)).replace(f"{ROOT}/", "")
    folder = (
        cache_dir()
        / "mutation"
        / f"{bench.name}-{_digest(text, str((count, seed, ELSEWHERE.get(bench.name))), *_bench_sources(bench))}"
    )
    if not (folder / "mutants.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "design.il", text)
        yosys(folder, "read_rtlil design.il", f"hierarchy -top {bench.toplevel}", "proc", "opt", "wreduce", "opt_clean",
              "write_rtlil base.il", "write_json base.json")  # fmt: skip
        modules = json.loads((folder / "base.json").read_text())["modules"]
        block = f"{bench.toplevel}.{config}"
        elsewhere = re.compile(re.escape(block) + ELSEWHERE[bench.name]) if bench.name in ELSEWHERE else None
        ours = [name for name in modules if name.startswith(block) and not (elsewhere and elsewhere.fullmatch(name))]
        width = count.bit_length()
        yosys(folder, "read_rtlil base.il",
              f"select -set ours {' '.join(map(_escaped, ours))}",
            "select -set ours @ours t:$meminit* %d",  # what a memory holds at first is a constant
            f"mutate -list {count} -seed {seed} -ctrl mutsel {width} 1 -o list.txt @ours",
              "script list.txt", f"rename {bench.toplevel} mutated", "write_verilog -noattr inner.v")  # fmt: skip
        lines = (folder / "list.txt").read_text().splitlines()
        mutants = [_mutant(bench.name, number, line, modules) for number, line in enumerate(lines, 1)]
        ports = modules[bench.toplevel]["ports"]
        wrappers = [_wrapper(bench.toplevel, ports, width, "")]
        if bench.name == "rlu":
            wrappers.append(_wrapper("rlu", ports, width, f"{config}__"))
        inner = (folder / "inner.v").read_text()
        if f"input [{width - 1}:0] mutsel" not in inner:
            raise RuntimeError(f"the mutants of {bench.name} cannot be chosen: Yosys gave them no port mutsel")
        write_atomically(folder / "mutated.v", inner + "\n".join(wrappers))
        write_atomically(folder / "mutants.json", json.dumps([vars(mutant) for mutant in mutants], indent=1))
    listed = json.loads((folder / "mutants.json").read_text())
    return Mutated(bench, config, folder, tuple(Mutant(**fields) for fields in listed))


def _mutant(block: str, number: int, line: str, modules: dict[str, Any]) -> Mutant:
    arguments = line.partition("mutate ")[2]
    arguments = re.sub(r"-ctrl \S+ \S+ \S+ ", "", arguments)
    module, cell = (re.search(rf"-{name} (\S+)", arguments) for name in ("module", "cell"))
    kind = "?"
    if module and cell:
        kind = modules[_unescaped(module.group(1))]["cells"][_unescaped(cell.group(1))]["type"]
        kind = kind if kind.startswith("$") else f"instance of {kind.rpartition('.')[2]}"
    sources = re.findall(r"-src (\S+?):(\d+)", arguments)
    ours = [(path, int(at)) for path, at in sources if re.match(r"(rtl|tb)/", path)]
    if ours:
        path, at = ours[0]
        text, place = linecache.getline(str(ROOT / path), at).strip(), f"{path}:{at}"
    else:
        wire = re.search(r"-wire (\S+)", arguments)
        where = f"in {module.group(1).rpartition('.')[2]}" if module else ""
        text, place = f"wire {wire.group(1)}" if wire else where, "no line of ours"
    return Mutant(block, number, re.sub(r" -src \S+", "", arguments), kind, text, place)


def _escaped(name: str) -> str:
    return re.sub(r"([$\[\]*?])", "?", name)  # a selection pattern: what is special matches as any character


def _unescaped(name: str) -> str:
    return name.removeprefix("\\")


def _wrapper(name: str, ports: dict[str, Any], width: int, prefix: str) -> str:
    """A top module that takes the number of the mutant from the environment; ``prefix`` is left off its ports."""
    declared, connections = [], [".mutsel(mutsel)"]
    for inside, port in ports.items():
        outside = inside.removeprefix(prefix)
        declared.append(f"{port['direction']} [{len(port['bits']) - 1}:0] {outside}")
        connections.append(f".{inside}({outside})")
    return (
        f"module {name}({', '.join(declared)});\n"
        f"  reg [{width - 1}:0] mutsel;\n"
        '  initial mutsel = $c32("(std::getenv(\\"RLU_MUTANT\\") ? std::atoi(std::getenv(\\"RLU_MUTANT\\")) : 0)");\n'
        f"  mutated inner({', '.join(connections)});\nendmodule\n"
    )


def yosys(folder: Path, *script: str, limit_s: float | None = None) -> None:
    """Run commands of Yosys in a folder; RuntimeError with its last words, TimeoutExpired after ``limit_s``."""
    code = "import sys; from pyosys import libyosys as ys; d = ys.Design()\nfor c in sys.argv[1:]: ys.run_pass(c, d)"
    done = subprocess.run(
        [sys.executable, "-c", code, *script], cwd=folder, capture_output=True, text=True, errors="replace",
        timeout=limit_s, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).splitlines()
        raise RuntimeError("\n".join(["yosys:", *([x for x in lines if "ERROR" in x] or lines[-4:])]))


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
            # Without what a run that was cut off left half written.
            write_atomically(self.results, "".join(json.dumps(item) + "\n" for item in ended.items()))
            build = self._build(self.block.bench.toplevel)
            began = time.monotonic()
            if self._bench_notices(build, 0, 1, 1):
                raise RuntimeError(f"the bench {self.block.bench.name} fails without a mutant; see `python -m tb.run`")
            # A mutant that hangs the bench is noticed too.
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
        if self._bench_notices(build, mutant.number, 1, 1):
            return "bench"
        if _proven_equivalent(self.block, mutant):
            return "proven"
        if any(self._bench_notices(build, mutant.number, seed, effort) for seed, effort in RETRIES):
            return "retry"
        if self.block.bench.name == "rlu" and self._lockstep_notices(mutant.number):
            return "lockstep"
        return "survived"

    def _known(self) -> dict[int, State]:
        if not self.results.exists():
            return {}
        lines = [line for line in self.results.read_text().splitlines() if line.endswith("]")]
        return {number: state for number, state in map(json.loads, lines)}

    def _build(self, top: str) -> Path:
        return built(self.block.verilog, "verilator", toplevel=top, name=f"mutants-{self.block.bench.name}", quick=True)

    def _bench_notices(self, build: Path, number: int, seed: int, effort: int) -> bool:
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            arguments = {
                "simulator": "verilator",
                "module": f"tb.{self.block.bench.name}",
                "toplevel": self.block.bench.toplevel,
                "build_dir": str(build),
                "test_dir": folder,
                "seed": seed,
                "results_xml": f"{folder}/results.xml",
                "environment": {
                    "RLU_BENCH_CONFIG": self.block.config,
                    "RLU_BENCH_EFFORT": str(effort),
                    "RLU_MUTANT": str(number),
                    "COCOTB_MAX_FAILURES": "1",
                    "COCOTB_LOG_LEVEL": "WARNING",
                },
                "waves": False,
            }
            return not self._succeeds(child_command("test", arguments), tool_environment("verilator"))

    def _lockstep_notices(self, number: int) -> bool:
        environment = tool_environment("verilator") | {"RLU_MUTANT": str(number)}
        command = [sys.executable, "-m", "tb.mutate", "--lockstep", self.block.config, str(self.block.verilog)]
        return not self._succeeds(command, environment)

    def _succeeds(self, command: Sequence[str], environment: dict[str, str]) -> bool:
        # GNU timeout ends the whole group, the simulator in it.
        limited = ["timeout", "-k", "2", f"{self.limit_s:.0f}", *command]
        paths = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
        done = subprocess.run(
            limited, env=environment | {"PYTHONPATH": paths}, cwd=ROOT, capture_output=True, stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
        return done.returncode == 0


def _proven_equivalent(block: Mutated, mutant: Mutant) -> bool:
    """Whether Yosys proves by induction that with the mutant no output and no register ever differs again.

    It starts from equal states; that the two start equal is what the surviving simulation has shown.
    """
    top = block.bench.toplevel
    prepared = ["flatten", "memory_map", "opt_clean"]
    with tempfile.TemporaryDirectory(prefix="proof-") as folder:
        shutil.copy(block.folder / "base.il", folder)
        script = [
            "read_rtlil base.il", *prepared, f"rename {top} gold", "design -stash gold",
            "read_rtlil base.il", f"mutate {mutant.arguments}", *prepared, f"rename {top} gate", "design -stash gate",
            "design -copy-from gold -as gold gold", "design -copy-from gate -as gate gate",
            "equiv_make gold gate equiv", "hierarchy -top equiv", "opt_clean", "equiv_simple -seq 2",
            "equiv_induct -seq 3", "equiv_status -assert",
        ]  # fmt: skip
        try:
            yosys(Path(folder), *script, limit_s=PROOF_SECONDS)
        except (RuntimeError, subprocess.TimeoutExpired):
            return False
    return True


def explanations(path: Path = EXPLAINED) -> list[dict[str, str]]:
    """The checked-in table of survivors that do no harm, each with its reason.

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
        """All of them."""
        return self.states.total()

    @property
    def killed(self) -> int:
        """Those that a simulation noticed."""
        return sum(self.states[state] for state in KILLED)

    @property
    def percent(self) -> float:
        """Share that is killed, of those that are not proven to be no fault at all."""
        counted = self.mutants - self.states["proven"]
        return 100.0 * self.killed / counted if counted else 100.0


def table(tallies: Sequence[Tally]) -> str:
    """The result, a line a block and one for all."""
    columns = ("bench", "retry", "lockstep", "proven", "explained", "survived")
    total = Tally("all", sum((tally.states for tally in tallies), Counter()))
    lines = [f"{'block':14} {'mutants':>7} " + " ".join(f"{name:>9}" for name in columns) + f" {'killed':>8}"]
    for tally in [*tallies, total]:
        counts = " ".join(f"{tally.states[name]:>9}" for name in columns)
        lines.append(f"{tally.block:14} {tally.mutants:>7} {counts} {tally.percent:>7.1f}%")
    return "\n".join(lines)


def verdict(tallies: Sequence[Tally], survivors: Sequence[Mutant]) -> list[str]:
    """What is not good enough; nothing if all is well."""
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


def run(blocks: Iterable[str], count: int | None, jobs: int) -> tuple[list[Tally], list[str]]:
    """Hunt the mutants of some blocks; returns how they ended, and what is wrong."""
    entries = explanations()
    tallies: list[Tally] = []
    survivors: list[Mutant] = []
    failures: list[str] = []
    for name in blocks:
        block = mutated(BENCHES[name], count or LARGER.get(name, PER_BLOCK))
        with tqdm(total=len(block.mutants), desc=name, unit="mutant", disable=None, file=sys.stderr) as bar:
            try:
                ended = Hunt(block, jobs, bar.update).run()
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
    """Lockstep of the whole unit with the mutant of the environment; exit code 1 if it is noticed."""
    from sim.lockstep import run as run_lockstep

    return 0 if run_lockstep(CONFIGS[config], episodes=EPISODES, verilog=verilog).identical else 1


def _bench_sources(bench: Bench) -> list[str]:
    """What a verdict depends on besides the RTL: the bench, what all of them share, the models they compare with."""
    others = {"mutate", "prove", "coverage", "run", *BENCHES} - {bench.name}
    paths = [path for path in sorted((ROOT / "tb").glob("*.py")) if path.stem not in others]
    paths += [ROOT / "sim" / f"{name}.py" for name in ("arithmetic", "golden", "lockstep", "server")]
    return [path.read_text() for path in paths]


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="tb.mutate", description="Mutation coverage of the cocotb benches.")
    parser.add_argument("block", nargs="*", help=f"blocks, of: {', '.join(BENCHES)} (default: all)")
    parser.add_argument("--count", type=int, help="mutants of every block (default: as many as `make mutate` has)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="simulations at a time")
    parser.add_argument("--lockstep", nargs=2, metavar=("CONFIG", "VERILOG"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.lockstep:
        return lockstep(arguments.lockstep[0], Path(arguments.lockstep[1]))
    unknown = [name for name in arguments.block if name not in BENCHES]
    if unknown or (arguments.count is not None and arguments.count < 1) or arguments.jobs < 1:
        said = (
            f"no block {unknown[0]!r}; there are: {', '.join(BENCHES)}"
            if unknown
            else "--count and --jobs must be at least 1"
        )
        print(f"error: {said}", file=sys.stderr)
        return 2
    tallies, complaints = run(arguments.block or BENCHES, arguments.count, arguments.jobs)
    print("\n" + table(tallies))
    print("\n".join(complaints), end="\n" if complaints else "")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
