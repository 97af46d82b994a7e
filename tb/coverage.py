"""Line and toggle coverage of the benches, from Verilator: which lines of the RTL ran, which bits rose and fell.

``python -m tb.coverage`` prints a table and the missed points; exit code 0 if every block reaches the required
coverage, 1 if not, 2 for a mistake in the command.

A bit counts once for a block, whichever configuration toggles it, because small configurations never use high bits of
the ports. A line counts separately in every configuration. Not counted are nets without a name of ours, the words of
memories (Verilator omits large ones anyway), and the branches that Yosys writes only to wake a process.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from sim.files import cache_dir, scratch_folder, write_atomically
from sim.simulators.build import built, simulation_child
from tb.kit.designs import BENCHES, ROOT, Bench, generate
from tb.mutation.mutants import ELSEWHERE

EXCEPTIONS = ROOT / "tb" / "coverage.toml"
#: Percent of each kind that a block must exceed.
REQUIRED = {"line": 98.0, "toggle": 95.0}

Kind = Literal["line", "toggle"]


@dataclass(frozen=True, order=True)
class Point:
    """A coverage point.

    Attributes:
        kind: ``line`` or ``toggle``.
        where: instance within the block, empty for the block itself; for a line, with its configuration in front.
        what: ``signal[bit]:0->1``, or the line's number and text with the branch.
    """

    kind: Kind
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.where or 'top'}: {self.what}"


@dataclass(frozen=True)
class Excuse:
    """Points that need not be met.

    Attributes:
        block: name of the bench, or ``*``.
        kind: ``line`` or ``toggle``.
        match: regular expression for the beginning of ``instance: what`` of a point.
        reason: why the points need not be met.
    """

    block: str
    kind: str
    match: str
    reason: str

    def covers(self, block: str, point: Point) -> bool:
        """Whether this excuses a point of a block."""
        return (
            self.block in (block, "*")
            and self.kind == point.kind
            and re.match(self.match, f"{point.where or 'top'}: {point.what}") is not None
        )


@dataclass
class Covered:
    """Coverage of a block by its bench.

    Attributes:
        block: name of the bench.
        hits: how often each point was met.
        excused: points that were not met and need not be, with the exception for each.
    """

    block: str
    hits: dict[Point, int] = field(default_factory=dict)
    excused: dict[Point, Excuse] = field(default_factory=dict)

    def missed(self, kind: Kind | None = None) -> list[Point]:
        """Points not met and not excused."""
        return sorted(
            point
            for point, hits in self.hits.items()
            if not hits and point not in self.excused and kind in (None, point.kind)
        )

    def percent(self, kind: Kind) -> float:
        """Percentage of the points that was met, without the excused ones."""
        points = [point for point in self.hits if point.kind == kind and point not in self.excused]
        return 100.0 * (1 - len(self.missed(kind)) / len(points)) if points else 100.0


def excuses(path: Path = EXCEPTIONS) -> list[Excuse]:
    """The checked-in exceptions. Raises ValueError for one that lacks something."""
    entries = tomllib.loads(path.read_text()).get("exception", []) if path.exists() else []
    for entry in entries:
        if set(entry) != {"block", "kind", "match", "reason"} or not entry["reason"] or entry["kind"] not in REQUIRED:
            raise ValueError(f"{path.name}: an exception needs block, kind (line, toggle), match and reason: {entry}")
    return [Excuse(**entry) for entry in entries]


def read_points(text: str, verilog: str, bench: Bench, config: str) -> dict[Point, int]:
    """Points in Verilator's coverage.dat of a block in one configuration, with the Verilog that was simulated."""
    lines = verilog.splitlines()
    block = f"{bench.toplevel}.{config}"
    elsewhere = re.compile(re.escape(block) + ELSEWHERE[bench.name]) if bench.name in ELSEWHERE else None
    points: dict[Point, int] = {}
    for key, hits in re.findall(r"^C '(.*)' (\d+)$", text, re.MULTILINE):
        fields = dict(item.split("\2", 1) for item in key.split("\1") if item)
        page, _, module = fields["page"].partition("/")
        module = re.sub(r"\$\d+", "", _plain(module))
        if (module != block and not module.startswith(f"{block}.")) or (elsewhere and elsewhere.fullmatch(module)):
            continue
        where = module.removeprefix(block).removeprefix(".")
        if page == "v_toggle":
            what = _plain(fields["o"])
            if "$" in what or "][" in what:
                continue
            # A signal of one bit may have several bits in another configuration.
            point = Point("toggle", where, re.sub(r"^(\w+):", r"\1[0]:", what))
        else:
            line = lines[int(fields["l"]) - 1].strip()
            if "$auto$verilog_backend" in line:
                continue
            point = Point("line", f"{config} {where}".strip(), f"{fields['l']}: {line} ({fields['o']})")
        points[point] = points.get(point, 0) + int(hits)
    return points


def _plain(name: str) -> str:
    """A name as it is in the Verilog: Verilator writes special characters as their codes."""
    return re.sub(r"__0([0-9A-F]{2})", lambda code: chr(int(code.group(1), 16)), name)


def measure(bench: Bench, configs: Sequence[str], effort: int = 1) -> Covered:
    """Run a bench in some configurations, and merge their coverage.

    Raises:
        RuntimeError: if the bench fails.
    """
    text = generate(bench, configs)
    folder = cache_dir() / "coverage"
    verilog = folder / f"{bench.toplevel}-{'-'.join(configs)}.v"
    write_atomically(verilog, text)
    build = built(verilog, "verilator", toplevel=bench.toplevel, name=f"cov-{bench.name}", quick=True, coverage=True)
    covered = Covered(bench.name)
    for config in configs:
        for point, hits in read_points(_simulate(bench, config, build, effort), text, bench, config).items():
            covered.hits[point] = covered.hits.get(point, 0) + hits
    return covered


def _simulate(bench: Bench, config: str, build: Path, effort: int) -> str:
    with scratch_folder("rlu-coverage-") as folder:
        variables = bench.environment(config, effort)
        command, environment = simulation_child(bench.module, bench.toplevel, build, folder, variables)
        done = subprocess.run(
            command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != 0:
            last = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
            raise RuntimeError(f"the bench {bench.name} fails in {config}; see `python -m tb.run {bench.name}`\n{last}")
        return (folder / "coverage.dat").read_text(errors="replace")


def excuse(covered: Covered, listed: Iterable[Excuse]) -> None:
    """Exclude the points that were missed and are excused."""
    for point in covered.missed():
        found = next((entry for entry in listed if entry.covers(covered.block, point)), None)
        if found is not None:
            covered.excused[point] = found


def table(blocks: Sequence[Covered]) -> str:
    """Percentages, a line per block."""
    lines = [
        f"{'block':14} {'lines':>7} {'missed':>7} {'excused':>8} {'':7} {'toggles':>8} {'missed':>7} {'excused':>8}"
    ]
    for covered in blocks:
        cells = [f"{covered.block:14}"]
        for kind in ("line", "toggle"):
            points = sum(point.kind == kind for point in covered.hits)
            excused = sum(point.kind == kind for point in covered.excused)
            cells.append(f"{points:>7} {len(covered.missed(kind)):>7} {excused:>8} {covered.percent(kind):>6.1f}%")
        lines.append(" ".join(cells))
    return "\n".join(lines)


def verdict(blocks: Sequence[Covered], listed: Sequence[Excuse] = ()) -> list[str]:
    """Everything that is not good enough, including unneeded exceptions in ``listed``."""
    complaints = []
    for covered in blocks:
        for kind, required in REQUIRED.items():
            if covered.percent(kind) <= required:  # type: ignore[arg-type]
                share = covered.percent(kind)  # type: ignore[arg-type]
                complaints.append(
                    f"{covered.block}: {share:.1f} % {kind} coverage, more than {required:g} % is required"
                )
    needed = {id(entry) for covered in blocks for entry in covered.excused.values()}
    complaints += [
        f"{EXCEPTIONS.name}: nothing needs the exception {entry.match!r} of {entry.block}"
        for entry in listed
        if id(entry) not in needed
    ]
    return complaints


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="tb.coverage", description="Line and toggle coverage of the cocotb benches.")
    parser.add_argument("block", nargs="*", help=f"blocks, of: {', '.join(BENCHES)} (default: all)")
    parser.add_argument("--config", help="only this configuration (default: all of the bench)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="benches at a time")
    parser.add_argument("--all", action="store_true", help="list everything that was missed, not only the first")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.block if name not in BENCHES]
    if unknown:
        print(f"error: no block {unknown[0]!r}; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    names = arguments.block or list(BENCHES)
    wrong = [name for name in names if arguments.config and arguments.config not in BENCHES[name].configs]
    if wrong or arguments.jobs < 1:
        said = f"{wrong[0]} has no configuration {arguments.config!r}" if wrong else "--jobs must be at least 1"
        print(f"error: {said}", file=sys.stderr)
        return 2
    listed = excuses()

    def one(name: str) -> Covered:
        bench = BENCHES[name]
        covered = measure(bench, (arguments.config,) if arguments.config else bench.configs)
        excuse(covered, listed)
        return covered

    blocks = []
    with ThreadPoolExecutor(arguments.jobs) as pool, tqdm(total=len(names), disable=None, file=sys.stderr) as bar:
        try:
            for covered in pool.map(one, names):
                blocks.append(covered)
                bar.update()
        except RuntimeError as error:
            pool.shutdown(cancel_futures=True)
            print(f"error: {error}", file=sys.stderr)
            return 1
    for covered in blocks:
        missed = covered.missed()
        shown = missed if arguments.all else missed[:10]
        for point in shown:
            print(f"missed in {covered.block}: {point}")
        if len(shown) < len(missed):
            print(f"missed in {covered.block}: {len(missed) - len(shown)} more (--all lists them)")
    print(table(blocks))
    # In a partial run, an exception may have nothing to excuse.
    complaints = verdict(blocks, listed if not (arguments.block or arguments.config) else ())
    print("\n".join(complaints), end="\n" if complaints else "")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
