"""The latency table of this machine: every candidate block of a space, timed in ONNX Runtime."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from algo.chips.measured import check_threads, processor, runtime_in_words, session
from algo.nas import onnx_blocks
from algo.nas.latency_table import Floats, LatencyTable, TableError
from algo.nas.onnx_blocks import runs_in
from algo.nas.space import Architecture, Block, Space

#: A round runs every model this many times, after runs that do not count.
RUNS, WARM_UP = 10, 2
#: The least number of rounds, and the seconds after which no further round begins.
LEAST_ROUNDS, SECONDS = 5, 20.0
#: What counts of a model's times: what disturbs it only ever adds to them.
QUARTILE = 25
#: Whole networks that are timed with the blocks, chosen at random.
NETWORKS = 32


def details_here(threads: int = 1) -> dict[str, str | int | float]:
    """What a table must have been measured with to hold here."""
    import onnxruntime  # type: ignore[import-untyped]

    return {"processor": processor(), "ONNX Runtime": str(onnxruntime.__version__), "threads": threads, "batch": 1}


def measured_table(
    space: Space, image: tuple[int, int, int], classes: int, threads: int = 1, seconds: float = SECONDS
) -> LatencyTable:
    """Time every candidate on this machine.

    A block with weights of up to 8 bits runs in int8; beyond, in float32: there are no faster kernels. Each candidate
    is one model with integers in and out, and it is checked that int8 runs in integer kernels. Blocks of the same
    shape are timed once. What a call of the runtime takes counts once for a network.

    Alone, a block finds its data and code nearer than in a network. So some whole networks are timed in turn with the
    blocks, and three figures make the table agree with them: a factor for blocks, one for changes of arithmetic, and
    what each change takes besides. They are in its details, with the mean error that remains on these networks.

    Args:
        space: whose options are timed.
        image: channels, height and width.
        classes: of the network.
        threads: of ONNX Runtime.
        seconds: that the timing takes; more if `LEAST_ROUNDS` take more.

    Raises:
        TableError: for a model that ONNX Runtime refuses, or one of int8 that it runs in float32.
        ValueError: for a number of threads that is not possible.
        ModuleNotFoundError: without onnx or onnxruntime.
    """
    check_threads(threads)
    start = time.perf_counter()
    # Without their names, blocks of the same shape are equal.
    blocks = [replace(block, name="") for block in space.blocks(image[1:])]
    rng = np.random.default_rng(1)
    networks = [
        space.checked(space.options[number] for number in rng.integers(len(space.options), size=space.block_count))
        for _ in range(NETWORKS)
    ]
    models = _models(space, blocks, image, classes)
    models |= {f"network {n}": onnx_blocks.network_model(space, net, image, classes) for n, net in enumerate(networks)}
    times = interleaved_ms([_runnable(model, _named(key), threads) for key, model in models.items()], seconds)
    ms = dict(zip(models, times, strict=True))
    blocks_ms, switch_ms = _costs(ms, space, blocks)
    table = LatencyTable(
        "measured", f"measured on {runtime_in_words(threads)}", details_here(threads), space, image, classes,
        tuple(map(runs_in, space.bits)), ms["stem"] + ms["head"] - ms["empty"], blocks_ms, switch_ms,
    )  # fmt: skip
    table = _fitted(table, networks, [ms[f"network {number}"] for number in range(NETWORKS)])
    more = {"models": len(models), "seconds": round(time.perf_counter() - start, 1)}
    return replace(table, details={**table.details, **more})


def measured_ms(models: Sequence[Any], threads: int = 1, seconds: float = SECONDS) -> list[float]:
    """Latency of ONNX models on this machine, timed in turn.

    Args:
        models: such as `algo.nas.onnx_blocks.network_model` makes.
        threads, seconds: as of `measured_table`, and errors as there.
    """
    check_threads(threads)
    return interleaved_ms([_runnable(model, f"network {n}", threads) for n, model in enumerate(models)], seconds)


def interleaved_ms(runs: Sequence[Callable[[], object]], seconds: float = SECONDS) -> list[float]:
    """The lower quartile of each function's times in ms.

    The functions take turns, so what slows the machine for a while slows them all alike.
    """
    from tqdm import tqdm

    times: list[list[int]] = [[] for _ in runs]
    start, passed, rounds = time.perf_counter(), 0.0, 0
    with tqdm(total=seconds, unit="s", desc="measuring", disable=None, file=sys.stderr, leave=False) as bar:
        while rounds < LEAST_ROUNDS or passed < seconds:
            for run, found in zip(runs, times, strict=True):
                for _ in range(WARM_UP):
                    run()
                for _ in range(RUNS):
                    before = time.perf_counter_ns()
                    run()
                    found.append(time.perf_counter_ns() - before)
            passed, rounds = time.perf_counter() - start, rounds + 1
            bar.update(min(passed, seconds) - bar.n)
    return [float(np.percentile(found, QUARTILE)) / 1e6 for found in times]


@dataclass(frozen=True)
class _Part:
    """A block in a speed."""

    block: Block
    path: tuple[int, int]
    integer: bool

    def __str__(self) -> str:
        block, (kernel, expansion) = self.block, self.path
        return (
            f"a block of {block.inputs} to {block.outputs} channels, {block.size[0]}x{block.size[1]}, "
            f"stride {block.stride}, with k{kernel} e{expansion} in {'int8' if self.integer else 'float32'}"
        )


def _named(key: Any) -> str:
    """The name of what is timed, for messages."""
    if isinstance(key, str):
        return f"the {key}"
    if isinstance(key[0], _Part):
        return " and ".join(map(str, key))
    return f"a layer of {key[0]} channels, {key[1][0]}x{key[1][1]}"


def _models(space: Space, blocks: Sequence[Block], image: tuple[int, int, int], classes: int) -> dict[Any, Any]:
    """Everything that is timed except networks; what must run in integers is checked."""
    speeds = dict.fromkeys(runs_in(bits) == "int8" for bits in space.bits)
    models: dict[Any, Any] = {
        "empty": onnx_blocks.empty_model(),
        "stem": onnx_blocks.stem_model(image, space),
        "head": onnx_blocks.head_model(blocks[-1].output_size, space, classes),
    }
    if True in speeds:
        for block, path in itertools.product(dict.fromkeys(blocks), space.paths):
            models[(_Part(block, path, True),)] = onnx_blocks.block_model(block, path)
    for key, model in models.items():
        _check_integer(model, _named(key))
    if False in speeds:
        for block, path in itertools.product(dict.fromkeys(blocks), space.paths):
            models[(_Part(block, path, False),)] = onnx_blocks.framed_model([(block, path, False)])
        for tensor in _tensors(blocks):
            models[tensor] = onnx_blocks.frame_model(*tensor)
        for pair, kinds in itertools.product(itertools.pairwise(blocks), itertools.product(speeds, repeat=2)):
            if not all(kinds):
                parts = _first_paths(space, pair, kinds)
                models[parts] = onnx_blocks.framed_model([(part.block, part.path, part.integer) for part in parts])
    return models


def _first_paths(space: Space, blocks: Sequence[Block], integer: Sequence[bool]) -> tuple[_Part, ...]:
    """Blocks with the space's first path."""
    return tuple(_Part(block, space.paths[0], one) for block, one in zip(blocks, integer, strict=True))


def _tensors(blocks: Sequence[Block]) -> list[tuple[int, tuple[int, int]]]:
    """Channels, and height and width, of what is before each block and after the last one."""
    return [*((block.inputs, block.size) for block in blocks), (blocks[-1].outputs, blocks[-1].output_size)]


def _alone(ms: dict[Any, float], *parts: _Part) -> float:
    """What one block or two take between layers in integers, changes included."""
    made = ms[parts] - ms["empty"]
    if not all(part.integer for part in parts):
        for tensor in (_tensors([parts[0].block])[0], _tensors([parts[-1].block])[1]):
            made -= ms[tensor] - ms["empty"]
    return made


def _costs(ms: dict[Any, float], space: Space, blocks: Sequence[Block]) -> tuple[Floats, Floats]:
    """Latency of every option of every block, (blocks, paths, bits), and of changes, (blocks + 1, bits, bits).

    A block in float32 is measured with a change on either side. Two of them in a row save the two changes between
    them: what they save is split evenly, and taken from both blocks to become the prices of the changes.
    """
    integer = np.array([runs_in(bits) == "int8" for bits in space.bits])
    alone = np.array(
        [
            [[_alone(ms, _Part(block, path, one)) for one in integer.tolist()] for path in space.paths]
            for block in blocks
        ]
    )
    changes = np.zeros((len(blocks) + 1, len(integer), len(integer)))
    if not integer.all():
        for number, pair in enumerate(itertools.pairwise(blocks)):

            def saved(*kinds: bool, pair: tuple[Block, Block] = pair) -> float:
                parts = _first_paths(space, pair, kinds)
                return sum(_alone(ms, part) for part in parts) - _alone(ms, *parts)

            half = max(0.0, saved(False, False)) / 2
            alone[number : number + 2, :, ~integer] -= half
            if integer.any():
                there, back = (max(0.0, half - saved(*kinds)) for kinds in ((True, False), (False, True)))
                changes[number + 1] = np.not_equal.outer(integer, integer) * np.where(integer, back, there)
    return np.maximum(alone, 0), changes


def _fitted(table: LatencyTable, networks: Sequence[Architecture], measured: Sequence[float]) -> LatencyTable:
    """The table with its blocks and changes times a factor each, and more for each change: nearest to measured ms."""
    from scipy.optimize import nnls

    no_changes = replace(table, switch_ms=np.zeros_like(table.switch_ms))
    differs = np.not_equal.outer(table.speeds, table.speeds) * np.ones_like(table.switch_ms)
    counted = replace(no_changes, switch_ms=differs)
    rest = np.array([no_changes.ms(network) for network in networks])
    changes = np.array([table.ms(network) for network in networks]) - rest
    count = np.array([counted.ms(network) for network in networks]) - rest
    parts = np.stack([rest, changes, count], axis=1) / np.array(measured)[:, None]
    found = nnls(parts, np.ones(len(networks)))[0]
    blocks, change, each = found.tolist()
    fit = {
        "block_factor": blocks,
        "change_factor": change,
        "change_ms": each,
        "error_percent": 100 * np.abs(parts @ found - 1).mean(),
    }
    return replace(
        table,
        details={**table.details, **{name: round(float(value), 4) for name, value in fit.items()}},
        ends_ms=table.ends_ms * blocks,
        blocks_ms=table.blocks_ms * blocks,
        switch_ms=table.switch_ms * change + differs * each,
    )


def _check_integer(model: Any, what: str) -> None:
    with _refusals(what):
        kept = onnx_blocks.float_layers(model)
    if kept:
        raise TableError(
            f"ONNX Runtime runs {', '.join(kept)} of {what} in float32 and not in integers, so its latency is not that "
            "of int8: try another version of onnxruntime"
        )


def _runnable(model: Any, what: str, threads: int) -> Callable[[], object]:
    with _refusals(what):
        return session(model.SerializeToString(), threads)[0]


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Errors of ONNX Runtime as a TableError that names the model."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.startswith("onnx"):
            raise TableError(f"ONNX Runtime cannot run {what}: {str(error).splitlines()[0]}") from None
        raise
