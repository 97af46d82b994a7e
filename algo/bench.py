"""`rlu bench`: cycles, rates and start-up time, measured here and now."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from tqdm import tqdm

from algo.chips.evolver import EvolverChip
from algo.search.methods.units import batch_search
from algo.search.schedules import published_schedule
from algo.search.tables.policy_table import PolicyTable, TableEvaluator, synthetic_table
from algo.search.unit_searcher import search_with_unit
from rtl.spec.params import RLUParams
from sim.devices.device import Device, GoldenDevice
from sim.devices.driver import Driver
from sim.devices.objective import Objective
from sim.simulators.simulator import SimDevice

_ROWS = (1, 9, 64, 256)
_BATCH = 1000
_STARTS = 7


def run(seconds: float) -> dict[str, Any]:
    """All figures: cycles per command from the RTL, rates in search iterations per second.

    Args:
        seconds: how long each rate is measured, above 0.
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be above 0, not {seconds:g}")
    with tqdm(total=6, unit="figure", disable=None, file=sys.stderr) as bar:
        cycles = _cycles()
        bar.update()
        table = synthetic_table(EvolverChip(), layers=8, seed=1)
        bar.update()
        params = _params(table)
        with closing(SimDevice(params)) as device:
            simulated = _search_rate(device, table, seconds)
        scalar = _search_rate(GoldenDevice(params), table, seconds)
        bar.update()
        batch = _batch_rate(table, seconds)
        bar.update()
        start = _start_ms()
        bar.update()
        load = _load_ms() if importlib.util.find_spec("pyarrow") else None
        bar.update()
    return {
        "cycles": cycles,
        "iterations_per_s": {"rtl_cocotb_verilator": simulated, "golden": scalar, f"golden_batch_{_BATCH}": batch},
        "help_ms": start,
        "load_table_ms": load,
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as a Markdown table, with their goals."""
    rows = []
    for rows_in_use, cycles in figures["cycles"].items():
        t = int(rows_in_use)
        rows.append((f"sample a policy of {t} rows", f"{cycles['sample']} cycles", f"<= T + 8 = {t + 8}"))
        rows.append((f"update a policy of {t} rows", f"{cycles['update']} cycles", f"<= T + 12 = {t + 12}"))
    rates = figures["iterations_per_s"]
    goals = {"rtl_cocotb_verilator": ">= 500", f"golden_batch_{_BATCH}": ">= 20,000"}
    for name, rate in rates.items():
        rows.append(
            (f"search with a table, {name.replace('_', ' ')}", f"{rate:,.0f} iterations/s", goals.get(name, ""))
        )
    published = len(published_schedule()) * _BATCH / rates[f"golden_batch_{_BATCH}"]
    rows.append((f"the published search from {_BATCH:,} seeds", f"{published:.1f} s", "< 15"))
    rows.append(("`rlu --help`", f"{figures['help_ms']:.0f} ms", "< 300"))
    if figures["load_table_ms"] is not None:
        rows.append(("first table of QVF-Bench, imports included", f"{figures['load_table_ms']:.0f} ms", "< 200"))
    lines = ["| what | measured | goal |", "| --- | --- | --- |"]
    return "\n".join(lines + [f"| {a} | {b} | {c} |" for a, b, c in rows])


def _params(table: PolicyTable) -> RLUParams:
    counts = table.space.action_counts
    return RLUParams(states=len(counts), actions=max(counts), action_counts=counts)


def _cycles() -> dict[str, dict[str, int]]:
    """Cycles that the RTL reports, for several numbers of rows."""
    cycles = {}
    with closing(SimDevice(RLUParams())) as device:
        driver = Driver(device)
        for rows in _ROWS:
            driver.configure(action_counts=(16,) * rows, seed=1)
            driver.sample(1.0)
            sample = driver.cycles()
            driver.update(1000)
            cycles[str(rows)] = {"sample": sample, "update": driver.cycles()}
    return cycles


def _search_rate(device: Device, table: PolicyTable, seconds: float) -> float:
    """Iterations per second of the published search with a table in place of training."""
    driver, evaluator = Driver(device), TableEvaluator(table)
    objective = Objective(accuracy_th=0.6)

    def one() -> int:
        driver.configure(action_counts=table.space.action_counts, seed=1, objective=objective)
        return sum(1 for _ in search_with_unit(driver, table.space, table, evaluator, published_schedule()))

    return _rate(one, seconds)


def _batch_rate(table: PolicyTable, seconds: float) -> float:
    """Iterations per second over a batch of seeds."""
    schedule, objective = published_schedule(), Objective(accuracy_th=0.6)
    seeds = range(1, _BATCH + 1)
    return _rate(lambda: batch_search(table, objective, schedule, seeds)[0].size, seconds)


def _rate(job: Callable[[], int], seconds: float) -> float:
    """Units of work a second: the median over repeats that fill the time, after one that does not count."""
    job()
    rates: list[float] = []
    end = time.perf_counter() + seconds
    while not rates or time.perf_counter() < end:
        begin = time.perf_counter()
        done = job()
        rates.append(done / (time.perf_counter() - begin))
    return statistics.median(rates)


def _start_ms() -> float:
    """Median time of `rlu --help`, as a whole process."""
    times = []
    for _ in range(_STARTS):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "algo.cli", "--help"], stdout=subprocess.DEVNULL, check=True)
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def _load_ms() -> float:
    """Median time of loading a table in a process that has NumPy already, the import of pyarrow included."""
    code = (
        "import time, numpy; begin = time.perf_counter(); from algo.search.tables import qvf_bench; "
        "qvf_bench.load(qvf_bench.names()[0]); print(1e3 * (time.perf_counter() - begin))"
    )
    runs = (subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(_STARTS))
    return statistics.median(float(done.stdout) for done in runs)
