"""What somebody with the IP package and Icarus does: nothing of ours is imported or on the path."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.require import require_command


def simulate(package: Path, *, standard: str = "2012", waves: bool = False) -> subprocess.CompletedProcess[str]:
    """Compile the package's bench with Icarus, as its README says, and run it in the package's folder."""
    (verilog,) = package.glob("*.v")
    bench = sorted(path.relative_to(package).as_posix() for path in package.glob("bench/*.v"))
    sources = [*bench, verilog.name]
    command = [require_command("iverilog", "iverilog"), f"-g{standard}", "-I", ".", "-I", "bench", "-o", "tb.vvp"]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    subprocess.run([*command, *sources], cwd=package, env=environment, check=True)
    run = ["vvp", "-n", "tb.vvp", *(["+waves"] if waves else [])]
    return subprocess.run(
        run, cwd=package, env=environment, capture_output=True, text=True, check=False, timeout=120
    )  # fmt: skip


def passed(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether the bench says PASS and exits with 0; an AssertionError if the two disagree."""
    says = any(line.startswith("PASS: ") for line in done.stdout.splitlines())
    assert says == (done.returncode == 0), done.stdout + done.stderr
    assert says or "FAIL: " in done.stdout, done.stdout + done.stderr
    return says
