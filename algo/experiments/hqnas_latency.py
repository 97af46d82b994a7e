"""Latencies that a table predicts beside measured ones, and what a step of each super-network costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from algo.experiments import hqnas_runs as runs
from algo.experiments.base import NOT_PUBLISHED, Page, Row, Settings, markdown_table
from algo.experiments.plots import COLOURS, figure
from algo.nas.config import PATHS
from algo.nas.latency_table import LatencyTable
from algo.nas.space import Architecture

PAGE = runs.PAGE
#: Images of a step whose cost is measured.
_BATCH = 64


def configuration(settings: Settings) -> dict[str, Any]:
    """Space, data, and how many networks and steps."""
    return {**runs.description(settings, runs.JOINT), "networks": _networks(settings), "rounds": _rounds(settings)}


def _networks(settings: Settings) -> int:
    return settings.pick(quick=6, cpu=100, full=100)


def _rounds(settings: Settings) -> int:
    return settings.pick(quick=1, cpu=25, full=25)


def compute(settings: Settings) -> dict[str, Any]:
    """Predicted and measured latency of random networks, that of networks to compare with, and costs of steps."""
    from scipy.stats import kendalltau

    from algo.nas.onnx_blocks import network_model, resnet8_model

    table = runs.table_of(settings)
    space, image, classes = table.space, table.image, table.classes
    rng = np.random.default_rng(2026)
    networks = [
        space.checked(space.options[number] for number in rng.integers(len(space.options), size=space.block_count))
        for _ in range(_networks(settings))
    ]
    models = [network_model(space, network, image, classes) for network in networks]
    measured, again = (runs.measured_in_turn(models, settings.scale, 0.25) for _ in range(2))
    largest = table.largest
    known = {
        "the largest network, all blocks at 8 bits": network_model(space, largest, image, classes),
        "the largest network in float32": network_model(space, largest, image, classes, float32=True),
        "ResNet-8 of MLPerf Tiny in int8, 32x32x3": resnet8_model(classes=10),
    }
    beside = runs.measured_in_turn(list(known.values()), settings.scale)
    predicted = [table.ms(network) for network in networks]
    return {
        "device": table.origin,
        "details": dict(table.details),
        "space": space.name,
        "image": list(image),
        "predicted_ms": predicted,
        "measured_ms": measured,
        "tau": float(kendalltau(predicted, measured).statistic),
        "tau_of_two_measurements": float(kendalltau(measured, again).statistic),
        "beside_ms": dict(zip(known, beside, strict=True)),
        "steps": _steps(table, largest, _rounds(settings)),
    }


def _steps(table: LatencyTable, largest: Architecture, rounds: int) -> dict[str, dict[str, float]]:
    """Time and memory of a training step of each super-network, as multiples of the largest network's in float32.

    Times are medians of rounds in which all take turns; memory is what the forward pass keeps for the backward pass.
    """
    import torch
    from torch.nn import functional

    from algo.nas.network import Network
    from algo.nas.supernet import SuperNet
    from algo.nets.train.sgd import reproducible

    channels, height, width = table.image
    models: dict[str, Any] = {"largest": Network(table.space, largest, channels, table.classes)}
    for paths in PATHS:
        models[paths] = SuperNet(table.space, table.image, table.classes, paths)
        models[paths].noise = True
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(_BATCH, channels, height, width, generator=generator)
    labels = torch.randint(0, table.classes, (_BATCH,), generator=generator)

    def step(name: str) -> None:
        loss = functional.cross_entropy(models[name].train()(images), labels)
        loss.backward()

    with reproducible(1, torch.device("cpu")):
        models["largest"].to(memory_format=torch.channels_last)
        memory = {name: _kept_bytes(lambda name=name: step(name)) for name in models}  # type: ignore[misc]
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds):
            for name, found in times.items():
                start = time.perf_counter()
                step(name)
                found.append(time.perf_counter() - start)
    median = {name: statistics.median(found) for name, found in times.items()}
    return {
        name: {"time": median[name] / median["largest"], "memory": memory[name] / memory["largest"]} for name in PATHS
    }


def _kept_bytes(step: Callable[[], None]) -> int:
    """Bytes of all tensors that autograd keeps during a step, each counted once."""
    import torch

    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(kept.values())


def present(data: Mapping[str, Any]) -> Page:
    """Errors of the prediction, latencies to compare with, and costs of steps."""
    predicted, measured = np.array(data["predicted_ms"]), np.array(data["measured_ms"])
    errors = 100 * np.abs(predicted / measured - 1)
    rows = [
        Row("mean error of the predicted latency, %", NOT_PUBLISHED, f"{errors.mean():.1f}", "at most 7 wanted"),
        Row("largest error, %", NOT_PUBLISHED, f"{errors.max():.1f}"),
        Row("Kendall's tau, predicted and measured", NOT_PUBLISHED, f"{data['tau']:.3f}", "at least 0.9 wanted"),
        Row("Kendall's tau of two measurements", NOT_PUBLISHED, f"{data['tau_of_two_measurements']:.3f}"),
        *(Row(f"{name}, ms", NOT_PUBLISHED, f"{ms:.4f}") for name, ms in data["beside_ms"].items()),
    ]
    steps = markdown_table(
        ("--paths", "time", "memory"),
        [(name, f"{one['time']:.2f}", f"{one['memory']:.2f}") for name, one in data["steps"].items()],
    )
    with figure(1) as drawn:
        [axes] = drawn.axes
        ends = [min(predicted.min(), measured.min()), max(predicted.max(), measured.max())]
        axes.plot(ends, ends, ":", color="grey")
        axes.plot(predicted, measured, "o", color=COLOURS[1], markersize=3)
        axes.set(xlabel="predicted, ms", ylabel="measured, ms")
    seconds = data["details"].get("seconds", 0)
    return Page(
        rows,
        drawn.png,
        f"Predicted and measured latency of {len(predicted)} random networks",
        {"**A training step, as a multiple of the largest network's in float32**": steps},
        (
            f"Space `{data['space']}`, images of {'x'.join(map(str, data['image']))}; {data['device']}. The table took "
            f"{seconds:.0f} s. None of these networks was used to make it.",
            "What is measured is a network of integer kernels with random weights. Times are lower quartiles.",
            f"A step has {_BATCH} images, on one thread. Memory is what the forward pass keeps for the backward pass.",
        ),
    )
