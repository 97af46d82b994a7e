"""`rlu bench`: cycles, rates, start-up time and the price of a training step, measured here and now."""

from __future__ import annotations

import contextlib
import dataclasses
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
_WIDTHS = (8, 16)
#: Of messages that are coded: settings of ``--codec-bits``, and about the values of the space `tiny`.
_CODER_BITS, _VALUES = (1.0, 1.5, 2.0, 4.0), 14_000
_STEPS = 5  # of one training that is timed


def run(seconds: float) -> dict[str, Any]:
    """All figures: cycles per command from the RTL, rates in search iterations per second.

    Args:
        seconds: how long each rate is measured, above 0.
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be above 0, not {seconds:g}")
    with tqdm(total=8, unit="figure", disable=None, file=sys.stderr) as bar:
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
        steps = {str(w): _step_ratios(w, seconds) for w in _WIDTHS} if importlib.util.find_spec("torch") else {}
        bar.update()
        coder = _coder_rates(seconds) if importlib.util.find_spec("constriction") else {}
        excess = {f"{bits:g}": _over_entropy(bits) for bits in _CODER_BITS} if coder else {}
        bar.update()
    return {
        "cycles": cycles,
        "iterations_per_s": {"rtl_cocotb_verilator": simulated, "golden": scalar, f"golden_batch_{_BATCH}": batch},
        "help_ms": start,
        "load_table_ms": load,
        "training_step": steps,
        "coder_values_per_s": coder,
        "coder_bits_over_entropy": excess,
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
    for width, ratios in figures["training_step"].items():
        quantised, halved = ratios["quantised_to_float"], ratios["bfloat16_to_float32"]
        rows.append((f"quantised training step, width {width}", f"{quantised:.2f} float steps", "<= 1.3"))
        if halved is not None:
            rows.append((f"the same in bfloat16, width {width}", f"{halved:.2f} of that in float32", ""))
    for way, rate in figures["coder_values_per_s"].items():
        rows.append((f"{way} differences of federated messages", f"{rate / 1e6:.1f} million values/s", ">= 5"))
    for bits, ratio in figures["coder_bits_over_entropy"].items():
        what = f"bytes of a message of {_VALUES:,} differences of {bits} bits"
        rows.append((what, f"{ratio:.3f} of the entropy of its integers", "<= 1.21, or 1.05"))
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


def _coder_rates(seconds: float) -> dict[str, float]:
    """Values a second that a message of differences of 4 bits is made of, and read back."""
    import numpy as np

    from algo.fed.codec import Differences

    codec, count = Differences(4), 1_000_000
    values = [np.random.default_rng(1).laplace(0, 0.01, count).astype(np.float32)]
    known = [np.zeros(count, np.float32)]
    payload = codec.encode(values, [0], known)

    def encode() -> int:
        codec.encode(values, [0], known)
        return count

    def decode() -> int:
        codec.decode(payload, [0], known)
        return count

    return {"encode": _rate(encode, seconds), "decode": _rate(decode, seconds)}


def _over_entropy(bits: float) -> float:
    """A payload's length over what the frequencies of its integers say is the least, all that goes with it included."""
    import numpy as np

    from algo.fed.codec import Differences

    values = np.random.default_rng(1).laplace(0, 0.01, _VALUES).astype(np.float32)
    payload = Differences(bits).encode([values], [0], [np.zeros(_VALUES, np.float32)])
    frequencies = np.frombuffer(payload[3 : 3 + 2 * (2 * payload[0] + 1)], "<u2").astype(float)
    shares = frequencies[frequencies > 0] / frequencies.sum()
    return float(8 * len(payload) / (-_VALUES * np.sum(shares * np.log2(shares))))


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


def _step_ratios(width: int, seconds: float) -> dict[str, float | None]:
    """What a retraining step of a VGG8 costs on one thread of the processor: medians of trainings that take turns.

    Other work on the machine slows all of them alike, so ratios hold where times do not.
    """
    import torch

    from algo.nets.models.vgg8 import VGG8
    from algo.nets.quantisation import quantise
    from algo.nets.train.sgd import check_precision, reproducible, train
    from algo.nets.training_config import TrainingConfig

    plain = TrainingConfig()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn((plain.batch_size, 1, 32, 32), generator=generator).contiguous(
        memory_format=torch.channels_last
    )
    labels = torch.randint(10, (len(images),), generator=generator)
    kinds = {"float": plain, "quantised": plain}
    with contextlib.suppress(ValueError):
        check_precision("bfloat16", images.device)
        kinds["bfloat16"] = dataclasses.replace(plain, precision="bfloat16")
    with torch.random.fork_rng(devices=()):
        models = {kind: VGG8(10, 1, width).to(memory_format=torch.channels_last) for kind in kinds}  # type: ignore[call-overload]
    for kind in kinds.keys() - {"float"}:
        quantise(models[kind])
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    with reproducible(plain.threads):
        end = None
        while end is None or time.perf_counter() < end or len(times["float"]) < _STEPS:
            for kind, config in kinds.items():
                begin = time.perf_counter()
                train(models[kind], images, labels, config, _STEPS, len(images), config.learning_rate, generator)
                if end is not None:  # the first turn does not count
                    times[kind].append(time.perf_counter() - begin)
            end = end or time.perf_counter() + seconds
    medians = {kind: statistics.median(taken) for kind, taken in times.items()}
    return {
        "quantised_to_float": medians["quantised"] / medians["float"],
        "bfloat16_to_float32": medians["bfloat16"] / medians["quantised"] if "bfloat16" in medians else None,
    }


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
