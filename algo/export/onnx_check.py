"""Check that an exported file computes what the trained network does: other people's programs run it on real images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from algo.nets.same_outputs import FLOAT_ROUNDING, full_precision, moved, noise_like, outputs, perturbed_outputs
from algo.nets.tracing import evaluating, run_functional
from sim.devices.shadow import Disagreement

Floats = NDArray[np.float32]
_GIVEN, _CHECKED = 4, 12  # images: the most of the given ones, and with those of noise
_SPARE = 2  # of them may have a sum near the middle of two levels


@dataclass(frozen=True)
class Agreement:
    """What an exported file gives, compared with the network it was made from.

    Attributes:
        program: what ran the file.
        images: how many it got.
        accuracy: fraction of them the file classifies correctly, 0..1.
        same_predictions: number of images with the same largest logit.
        same_logits: number of images whose logits are all the same to float rounding, 1e-5 of the largest; on the
            others some activation was rounded to the next level.
        differing_logits: how many of images · classes numbers differ at all.
        largest_difference: of two logits.
        largest_logit: magnitude, to judge the difference by.
        ties: number of images with another prediction on which the network's own two logits are so close that noise
            of the size of float rounding could swap them: either is right.
    """

    program: str
    images: int
    accuracy: float
    same_predictions: int
    same_logits: int
    differing_logits: int
    largest_difference: float
    largest_logit: float
    ties: int = 0

    @property
    def agrees(self) -> bool:
        """Whether the file predicts what the network does on every image except ties."""
        return self.same_predictions + self.ties == self.images


def run_onnx(model: Any, images: Floats, optimised: bool = True) -> Floats:
    """Logits (N, classes) of images (N, ...) from ONNX Runtime on the CPU with its usual optimisations, one thread."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    logits: Floats = session.run(None, {model.graph.input[0].name: images})[0]
    return logits


def run_qonnx(model: Any, images: Floats) -> Floats:
    """Logits (N, classes) of images (N, ...) from qonnx's executor, which computes node by node: slow."""
    from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-untyped]
    from qonnx.core.onnx_exec import execute_onnx  # type: ignore[import-untyped]
    from qonnx.transformation.infer_shapes import InferShapes  # type: ignore[import-untyped]

    wrapped = ModelWrapper(model, make_deepcopy=True)
    given, made = wrapped.graph.input[0].name, wrapped.graph.output[0].name
    wrapped.set_tensor_shape(given, list(images.shape))  # it does not know free dimensions
    wrapped.set_tensor_shape(made, [len(images), wrapped.get_tensor_shape(made)[1]])
    logits: Floats = execute_onnx(wrapped.transform(InferShapes()), {given: images})[made]
    return logits


def is_qonnx(model: Any) -> bool:
    """Whether an exported file is in the format for qonnx."""
    return any(opset.domain.startswith("qonnx") for opset in model.opset_import)


def agreement(network: nn.Module, model: Any, images: Floats, labels: NDArray[np.int64]) -> Agreement:
    """Run an exported file in the program for its format, and the network it was made from, and compare.

    Args:
        network: on the CPU, in evaluation mode.
        model: what `algo.export.onnx_export.export` made of it, in either format.
        images: float32 (N, ...), at least one.
        labels: int64 (N,).
    """
    of_qonnx = is_qonnx(model)
    found = (run_qonnx if of_qonnx else run_onnx)(model, images)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(images.copy())).numpy()  # it may change its input
    predictions, differences, largest = found.argmax(1), np.abs(found - wanted), float(np.abs(wanted).max())
    numbers = np.isfinite(differences).all(1)  # NaN and infinity predict nothing
    same = (predictions == wanted.argmax(1)) & numbers
    return Agreement(
        program="qonnx" if of_qonnx else "ONNX Runtime",
        images=len(images),
        accuracy=float((predictions == labels).mean()),
        same_predictions=int(same.sum()),
        same_logits=int((differences.max(1) <= FLOAT_ROUNDING * largest).sum()),
        differing_logits=int((found != wanted).sum()),
        largest_difference=float(differences.max()),
        largest_logit=largest,
        ties=_ties(network, images, wanted, predictions, numbers & ~same),
    )


def _ties(
    network: nn.Module, images: Floats, wanted: Floats, predictions: NDArray[np.int64], doubtful: NDArray[np.bool_]
) -> int:
    """Number of doubtful images on which float rounding could make a prediction's logit the largest."""
    if not doubtful.any():
        return 0
    noisy = [run[0].numpy() for run in perturbed_outputs(network, torch.from_numpy(images.copy()))]
    moves = max(float(np.abs(run - wanted).max()) for run in noisy)
    behind = wanted.max(1) - np.take_along_axis(wanted, predictions[:, None], 1)[:, 0]
    return int((doubtful & (behind <= 2 * moves)).sum())  # one logit may rise and the other fall


def check(network: nn.Module, traced: fx.GraphModule, model: Any, images: Tensor, optimised: bool = True) -> None:
    """Run an exported file on some given images and on noise, and compare its logits with the network's own.

    The traced operations must give the network's logits to float rounding. So must the file, except for sums near the
    middle of two levels. The effect of such sums is measured on the network itself, with noise of the size of float
    rounding before and after every layer: sorted by size, the differences of the file may be twice those of the noise,
    except on two images. If that could hide a wrong file, three images must agree to float rounding; those of a wrong
    file do not.

    Args:
        network: any mode.
        traced: its graph, as `algo.nets.tracing.functional_trace` gives it.
        model: what was made of the graph, in either format.
        images: float32 (N, ...), a few that the network takes, on its device.
        optimised: with ONNX Runtime's usual optimisations, which round biases inside of layers.

    Raises:
        ValueError: if the network does not take another number of images, or its logits are not (N, classes), are
            not numbers, or differ between images by no more than rounding moves them: the check would find nothing.
        Disagreement: if the file computes something else.
    """
    kind = type(network).__name__
    some = torch.cat([images[:_GIVEN], noise_like(images, _CHECKED - len(images[:_GIVEN]))])
    try:
        wanted = outputs(network, some)
    except Exception as error:  # whatever its forward function raises
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{kind} took {len(images)} images and does not take {len(some)}, noise among them ({said}): the file "
            "must accept any batch size; use -1 or x.size(0) in view and reshape"
        ) from None
    logits = wanted[0]
    if len(wanted) != 1 or logits.dim() != 2 or len(logits) != len(some):
        shapes = " and ".join(str(tuple(made.shape)) for made in wanted)
        raise ValueError(f"{kind} gives outputs of shape {shapes} for {len(some)} images, not logits (N, classes)")
    if not bool(logits.isfinite().all()):
        raise ValueError(f"{kind} gives logits that are infinite or not numbers: train it first")
    rounding = FLOAT_ROUNDING * float(logits.abs().max())
    spread = float((logits.amax(0) - logits.amin(0)).max())
    if not 2 * rounding < spread:
        raise ValueError(
            f"{kind} gives all images the same logits to within {spread:.3g}, so a file cannot be compared with it: "
            "train the network first, or give it more bits"
        )
    wobbles = torch.stack([(run[0] - logits).abs().amax(1) for run in perturbed_outputs(network, some)])
    allowed = rounding + 2 * wobbles.amax(0).sort().values[_SPARE:].cpu()
    with evaluating(network), full_precision():
        followed = [run_functional(traced, some)]
    if difference := moved(wanted, followed, [wanted]):
        raise Disagreement(
            f"the traced operations of {kind} compute differently from its forward function: {difference}"
        )
    numbers = some.cpu().contiguous().numpy()
    found = run_qonnx(model, numbers) if is_qonnx(model) else run_onnx(model, numbers, optimised)
    if found.shape != tuple(logits.shape):
        raise Disagreement(f"the file gives logits of shape {found.shape}, {kind} of {tuple(logits.shape)}")
    differences = (torch.from_numpy(found) - logits.cpu()).abs().amax(1).sort().values[: len(allowed)]
    wrong, usual = ~(differences <= allowed), float(allowed.median())  # NaN is wrong too
    if bool(wrong.any()):
        raise Disagreement(
            f"the file computes differently from {kind}: logits differ by {float(differences[wrong][-1]):.3g}; "
            f"they differ between images by {spread:.3g}, and float rounding moves them by {usual:.3g}"
        )
    # If rounding could hide an error, some images must agree as only those of a right file do.
    if not 2 * usual < spread and not float(differences[_SPARE]) <= rounding:
        raise ValueError(
            f"float rounding moves the logits of {kind} by {usual:.3g}, and they differ between images by only "
            f"{spread:.3g}, so its file cannot be compared with it: train the network first, or give it more bits"
        )
