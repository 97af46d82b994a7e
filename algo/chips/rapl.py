"""Energy counters of the processor (RAPL) in Linux, if they can be read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Rapl:
    """The counters of all processor packages.

    Attributes:
        packages: their folders, each with ``energy_uj``, which starts again after ``max_energy_range_uj``.
    """

    packages: tuple[Path, ...]

    def read(self) -> tuple[int, ...]:
        """Energy used so far, in µJ, a number per package."""
        return tuple(int((package / "energy_uj").read_text()) for package in self.packages)

    def between(self, before: tuple[int, ...], after: tuple[int, ...]) -> int:
        """Energy in µJ between two readings, less than one full count apart."""
        used = 0
        for package, first, last in zip(self.packages, before, after, strict=True):
            used += last - first
            if last < first:
                used += int((package / "max_energy_range_uj").read_text())
        return used


def find_rapl(folder: Path = POWERCAP, probe_s: float = 0.05) -> tuple[Rapl | None, str]:
    """The machine's counters, or ``None`` and the reason why they cannot be used.

    Args:
        folder: where Linux shows them.
        probe_s: how long to keep the processor busy to see whether they move.
    """
    # intel-rapl:0 is a package (also of AMD's processors); intel-rapl:0:0 a part of it, counted in it already.
    packages = tuple(path for path in sorted(folder.glob("intel-rapl:*")) if path.name.count(":") == 1)
    if not packages:
        return None, f"this machine shows no energy counters (RAPL) in {folder}"
    rapl = Rapl(packages)
    try:
        before = rapl.read()
        until = time.perf_counter() + probe_s
        while time.perf_counter() < until:
            pass
        moved = rapl.between(before, rapl.read()) > 0
    except (OSError, ValueError) as error:
        return None, f"the energy counters (RAPL) cannot be read ({error}): the administrator must allow it"
    return (rapl, "") if moved else (None, f"the energy counters (RAPL) in {folder} do not move")
