"""Whether an exported file computes what the trained network does: run by others' programs, on real images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from algo.onnx_export import INPUT, OUTPUT

Floats = NDArray[np.float32]
_FLOAT_ROUNDING = 1e-5


@dataclass(frozen=True)
class Agreement:
    """What an exported file gives beside the network it was made from.

    Attributes:
        program: what ran the file.
        images: how many it was given.
        accuracy: fraction of them the file classifies rightly, 0..1.
        same_predictions: on how many images the largest logit is the same one.
        same_logits: on how many images all logits are the same to float rounding, 1e-5 of the largest; on the others
            some activation was rounded to the next level.
        differing_logits: how many of images · classes numbers differ at all.
        largest_difference: of two logits.
        largest_logit: magnitude, to judge the former by.
    """

    program: str
    images: int
    accuracy: float
    same_predictions: int
    same_logits: int
    differing_logits: int
    largest_difference: float
    largest_logit: float


def run_onnx(model: Any, images: Floats) -> Floats:
    """Logits (N, classes) of images (N, ...) from ONNX Runtime on the CPU with its usual optimisations, one thread."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    logits: Floats = session.run([OUTPUT], {INPUT: images})[0]
    return logits


def run_qonnx(model: Any, images: Floats) -> Floats:
    """Logits (N, classes) of images (N, ...) from qonnx's executor, which computes node by node: slow."""
    from qonnx.core.modelwrapper import ModelWrapper  # type: ignore[import-untyped]
    from qonnx.core.onnx_exec import execute_onnx  # type: ignore[import-untyped]
    from qonnx.transformation.infer_shapes import InferShapes  # type: ignore[import-untyped]

    wrapped = ModelWrapper(model, make_deepcopy=True)
    wrapped.set_tensor_shape(INPUT, list(images.shape))  # it knows no free dimension
    wrapped.set_tensor_shape(OUTPUT, [len(images), wrapped.get_tensor_shape(OUTPUT)[1]])
    logits: Floats = execute_onnx(wrapped.transform(InferShapes()), {INPUT: images})[OUTPUT]
    return logits


def agreement(network: nn.Module, model: Any, images: Floats, labels: NDArray[np.int64]) -> Agreement:
    """Run an exported file in the program that its form is for, and the network it was made from, and compare.

    Args:
        network: on the CPU, in evaluation mode.
        model: what `algo.onnx_export.export` made of it, in either form.
        images: float32 (N, ...), at least one.
        labels: int64 (N,).
    """
    of_qonnx = any(opset.domain.startswith("qonnx") for opset in model.opset_import)
    found = (run_qonnx if of_qonnx else run_onnx)(model, images)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(images)).numpy()
    predictions, differences, largest = found.argmax(1), np.abs(found - wanted), float(np.abs(wanted).max())
    return Agreement(
        program="qonnx" if of_qonnx else "ONNX Runtime",
        images=len(images),
        accuracy=float((predictions == labels).mean()),
        same_predictions=int((predictions == wanted.argmax(1)).sum()),
        same_logits=int((differences.max(1) <= _FLOAT_ROUNDING * largest).sum()),
        differing_logits=int((found != wanted).sum()),
        largest_difference=float(differences.max()),
        largest_logit=largest,
    )
