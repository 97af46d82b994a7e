"""This machine as a chip: ONNX Runtime runs every layer as an int8 layer, and its time is measured."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algo.chips.chip import UNAVAILABLE, LayerChip, Measurement
from algo.chips.onnx_layers import images_at_once
from algo.chips.rapl import Rapl, find_rapl
from algo.published.evolver import BIT_WIDTHS
from algo.space.layers import Geometry, LayerShape
from algo.space.policy import OperatingPoint

WARM_UP_S, WARM_UP_RUNS = 0.05, 5
MEASURE_S, MEASURE_RUNS = 0.3, 30  # both at least
MOST_RUNS = 20_000


@dataclass(frozen=True)
class Timing:
    """Times of a layer's runs.

    Attributes:
        median_ms, low_ms, high_ms: median and quartiles, per image.
        runs: how many.
        energy_uj: of the whole processor, per image; `UNAVAILABLE` without counters.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    runs: int
    energy_uj: float


class MeasuredChip(LayerChip):
    """Latency of each layer on this machine, and energy where its counters can be read.

    All layers are measured when the object is made, and a shape that occurs twice is measured once. ONNX Runtime has no
    faster arithmetic for fewer than 8 bits, so a layer has one figure for every bit-width.

    Args:
        layers: of the network, with their geometry.
        threads: of ONNX Runtime.
        counters: of energy, or the reason why they are missing; default: what `find_rapl` finds.

    Raises:
        ValueError: for a layer without geometry, or one that ONNX Runtime refuses; it is named.
        ModuleNotFoundError: without onnx or onnxruntime.
    """

    name = "measured"

    def __init__(
        self, layers: Sequence[LayerShape], threads: int = 1, counters: tuple[Rapl | None, str] | None = None
    ) -> None:
        super().__init__([layer.name for layer in layers], (OperatingPoint(UNAVAILABLE, UNAVAILABLE),), BIT_WIDTHS)
        from tqdm import tqdm

        check_threads(threads)
        rapl, reason = find_rapl() if counters is None else counters
        timings: dict[Geometry, Timing] = {}
        for layer in tqdm(layers, unit="layer", desc="measuring", disable=None, file=sys.stderr, leave=False):
            if layer.geometry is None:
                raise ValueError(f"layer {layer.name} cannot be measured: its loops are not known (Geometry)")
            if layer.geometry not in timings:
                try:
                    timings[layer.geometry] = time_runs(layer_session(layer.geometry, threads), rapl)
                except Exception as error:
                    if type(error).__module__.startswith("onnx"):
                        said = str(error).splitlines()[0]
                        raise ValueError(f"ONNX Runtime cannot run layer {layer.name}: {said}") from None
                    raise
        self.timings = tuple(timings[layer.geometry] for layer in layers if layer.geometry)
        self._uses = [layer.geometry.uses for layer in layers if layer.geometry]
        self.no_energy = reason if rapl is None else None
        self.origin = f"measured on {runtime_in_words(threads)}"
        self.notes = (
            "a figure is the median of repeated runs after warm-up and includes the call of ONNX Runtime itself; "
            "work between the layers (pooling, additions) is not included",
            "4- and 2-bit weights and activations run as 8-bit integers in ONNX Runtime: "
            "all bit-widths have the figure of 8 bits, without a gain",
            *(["energy is that of all processor packages, with everything else they did"] if rapl else []),
            *(
                f"layer {layer.name}: quartiles {t.low_ms:.4g} to {t.high_ms:.4g} ms over {t.runs} runs"
                for layer, t in zip(layers, self.timings, strict=True)
            ),
        )

    def measure_layer(self, index: int, weight_bits: int, activation_bits: int, point: int) -> Measurement:
        """Latency and energy of a layer, the same for all bit-widths."""
        del weight_bits, activation_bits, point
        uses, timing = self._uses[index], self.timings[index]
        return Measurement(uses * timing.median_ms, uses * timing.energy_uj)


def check_threads(threads: int) -> None:
    """Raise ValueError unless this is a possible number of threads."""
    if not 1 <= threads <= 256:
        raise ValueError(f"threads must be in 1..256, not {threads}")


def layer_session(shape: Geometry, threads: int = 1) -> Callable[[], object]:
    """A function that runs one layer with random 8-bit weights and activations in ONNX Runtime.

    The model takes and gives 8-bit integers. ONNX Runtime fuses its quantise and dequantise operators with the layer
    into one integer operator.
    """
    return session(layer_model(shape).SerializeToString(), threads)[0]


def session(model: bytes, threads: int = 1) -> tuple[Callable[[], object], int]:
    """A function that runs an ONNX model on random values in ONNX Runtime, and the number of images a run takes.

    That is one, unless the model's batch has a fixed size.

    Raises:
        ValueError: if the model takes something else than images of a fixed size as floats or bytes.
    """
    import numpy as np
    import onnxruntime  # type: ignore[import-untyped]

    rng = np.random.default_rng(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    opened = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given: dict[str, Any] = {}
    for value in opened.get_inputs():
        shape = _fixed(value.shape)
        if not shape or not all(shape[1:]):
            raise ValueError(
                f"input {value.name!r} has the shape {value.shape}: export the model for images of a fixed size"
            )
        if value.type not in ("tensor(uint8)", "tensor(float)"):
            raise ValueError(f"input {value.name!r} is a {value.type}: only float and uint8 are possible")
        bytes_ = rng.integers(0, 256, (shape[0] or 1, *shape[1:]), dtype=np.uint8)
        given[value.name] = bytes_ if value.type == "tensor(uint8)" else bytes_.astype(np.float32) / 255
    shapes = [[_fixed(value.shape) for value in values] for values in (opened.get_inputs(), opened.get_outputs())]
    return lambda: opened.run(None, given), images_at_once(*shapes)


def _fixed(shape: Sequence[object]) -> tuple[int, ...]:
    """A shape of ONNX Runtime's, with 0 for sizes that are not fixed."""
    return tuple(size if isinstance(size, int) and size > 0 else 0 for size in shape)


def layer_model(shape: Geometry) -> Any:
    """ONNX model of one layer: DequantizeLinear, Conv or Gemm with int8 weights, QuantizeLinear."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    if shape.linear:
        given, made = [shape.input_size[0], shape.in_channels], [shape.output_size[0], shape.out_channels]
        weights: tuple[int, ...] = (shape.out_channels, shape.in_channels)
        layer = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    else:
        given = [1, shape.in_channels, *shape.input_size]
        made = [1, shape.out_channels, *shape.output_size]
        weights = (shape.out_channels, shape.in_channels // shape.groups, *shape.kernel)
        layer = helper.make_node(
            "Conv", ["x", "w"], ["y"], kernel_shape=shape.kernel, strides=shape.stride, pads=shape.padding * 2,
            dilations=shape.dilation, group=shape.groups,
        )  # fmt: skip
    constants = {
        "weights": np.random.default_rng(2).integers(-127, 128, weights, dtype=np.int8),
        "scale": np.float32(0.02),
        "zero": np.uint8(0),
        "weight_zero": np.int8(0),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["image", "scale", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["weights", "scale", "weight_zero"], ["w"]),
        layer,
        helper.make_node("QuantizeLinear", ["y", "scale", "zero"], ["result"]),
    ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, given)],
        [helper.make_tensor_value_info("result", TensorProto.UINT8, made)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    # Old enough for any recent ONNX Runtime.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def time_runs(run: Callable[[], object], rapl: Rapl | None = None, images: int = 1) -> Timing:
    """Time repeated runs, each of ``images`` images, after a warm-up."""
    import numpy as np

    until, warmed = time.perf_counter() + WARM_UP_S, 0
    while warmed < WARM_UP_RUNS or time.perf_counter() < until:
        run()
        warmed += 1
    times: list[int] = []
    energy = rapl.read() if rapl else ()
    start = time.perf_counter()
    while len(times) < MOST_RUNS and (len(times) < MEASURE_RUNS or time.perf_counter() - start < MEASURE_S):
        before = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - before)
    energy_uj = rapl.between(energy, rapl.read()) / len(times) / images if rapl else UNAVAILABLE
    low, median, high = (float(value) / 1e6 / images for value in np.percentile(times, [25, 50, 75]))
    return Timing(median, low, high, len(times), energy_uj)


def runtime_in_words(threads: int, images: int = 1) -> str:
    """Processor, ONNX Runtime, threads and batch of a measurement, in words."""
    import onnxruntime

    version = onnxruntime.__version__
    batch = "one image" if images == 1 else f"{images} images"
    return f"this machine ({processor()}) with ONNX Runtime {version}, {threads} thread(s), {batch} at a time"


def processor() -> str:
    """The model of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
