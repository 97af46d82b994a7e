"""Cutting a waveform to the clock cycles that matter."""

from __future__ import annotations

from pathlib import Path

_PICOSECONDS_A_CYCLE = 10_000  # a simulated cycle is 10 ns, the resolution is 1 ps


def cut_vcd(source: Path, target: Path, first_cycle: int, last_cycle: int) -> None:
    """Copy the part of a VCD file between two clock cycles; every signal starts with its value at that time."""
    start, end = first_cycle * _PICOSECONDS_A_CYCLE, last_cycle * _PICOSECONDS_A_CYCLE
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open() as old, target.open("w") as new:
        for line in old:
            new.write(line)
            if line.startswith("$enddefinitions"):
                break
        values: dict[str, str] = {}
        inside = False
        for line in old:
            if line.startswith("#"):
                time = int(line[1:])
                if time > end:
                    break
                if time >= start and not inside:
                    inside = True
                    new.write(f"#{time}\n$dumpvars\n{''.join(values.values())}$end\n")
                elif inside:
                    new.write(line)
            elif inside:
                new.write(line)
            elif not line.startswith("$"):
                # "0!" for one bit, "b0101 !" for several: the identifier names the signal.
                values[line.split()[1] if line[0] in "bBrR" else line[1:].strip()] = line
