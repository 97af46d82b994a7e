"""Makes mutants: small faults that Yosys puts into the RTL of a block, see `tb.mutate`.

All mutants of a block are compiled into one simulation. The environment variable RLU_MUTANT selects one of them; 0 is
the block without a fault.
"""

from __future__ import annotations

import hashlib
import json
import linecache
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from rtl.flows.fpga.yowasp import last_words
from rtl.spec.buses import STANDARD
from sim.files import cache_dir, write_atomically
from tb.kit.designs import BENCHES, CONFIGS, ROOT, Bench, SideBySide

#: Parts of a block that are mutated with another bench, by the end of their instance name.
ELSEWHERE = {
    "rlu": r"\.(registers|core\..*)",
    "episodes": r"(?!\.core\.episodes(\.|$)).*",  # everything except the episode control
    "planning": r"(?!\.core\.planner(\.|$)).*",  # everything except the planner
    **{bus.name: r"\.rlu(\..*)?" for bus in STANDARD},
    "updater": r"\.reader\.row_max",
    "sampler": r"\.reader(\..*)?",
}
SEED = 1


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        block: name of the bench whose block it is in.
        number: its value of RLU_MUTANT, from 1.
        arguments: arguments of Yosys's ``mutate``.
        kind: type of the faulty cell.
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
        """Value of one of the arguments, empty if it is missing."""
        found = re.search(rf"-{name} (\S+)", self.arguments)
        return found.group(1) if found else ""

    @property
    def key(self) -> dict[str, str]:
        """Identifies it despite changes elsewhere: block, line of RTL, kind of cell, port with bit, fault."""
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
        config: configuration in which it is made.
        folder: ``base.il`` (the block without faults), ``mutated.v`` (with all mutants), results.
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
    """Configuration in which a block is mutated: short numbers, because corners are frequent there."""
    return "narrow" if "narrow" in bench.configs else bench.configs[0]


def mutated(bench: Bench, count: int, seed: int = SEED) -> Mutated:
    """Put ``count`` mutants into a block, spread evenly over its parts; the same arguments give the same mutants."""
    config = config_of(bench)
    top = SideBySide({config: bench.instance(CONFIGS[config])})
    # Without the checkout's path, so results hold in any checkout.
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
            "select -set ours @ours t:$meminit* %d",  # a memory's initial contents are a constant
            f"mutate -list {count} -seed {seed} -ctrl mutsel {width} 1 -o list.txt @ours",
              "script list.txt", f"rename {bench.toplevel} mutated", "write_verilog -noattr inner.v")  # fmt: skip
        lines = (folder / "list.txt").read_text().splitlines()
        mutants = [_mutant(bench.name, number, line, modules) for number, line in enumerate(lines, 1)]
        ports = modules[bench.toplevel]["ports"]
        wrappers = [_wrapper(bench.toplevel, ports, width, "")]
        if bench.module == "tb.benches.rlu":
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
    return re.sub(r"([$\[\]*?])", "?", name)  # in a selection pattern, special characters match any character


def _unescaped(name: str) -> str:
    return name.removeprefix("\\")


def _wrapper(name: str, ports: dict[str, Any], width: int, prefix: str) -> str:
    """A top module that reads the number of the mutant from the environment; its ports have no ``prefix``."""
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
        raise RuntimeError(f"yosys:\n{last_words(done.stdout + done.stderr)}")


def _bench_sources(bench: Bench) -> list[str]:
    """Sources that a verdict depends on besides the RTL: the bench, the kit, and the models for comparison."""
    paths = [path for path in sorted((ROOT / "tb" / "benches").glob("*.py")) if path.stem not in BENCHES]
    paths += [ROOT / f"{bench.module.replace('.', '/')}.py", *sorted((ROOT / "tb" / "kit").glob("*.py"))]
    paths += [
        *sorted((ROOT / "sim" / "model").glob("*.py")),
        ROOT / "sim" / "lockstep.py",
        ROOT / "sim" / "stimulus.py",
    ]
    paths += [ROOT / "sim" / "devices" / "device.py"]
    paths += [ROOT / "sim" / "simulators" / f"{name}.py" for name in ("masters", "server", "simulator")]
    return [path.read_text() for path in paths]


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
