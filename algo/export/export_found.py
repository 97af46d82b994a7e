"""The network that a search of architecture and bits found, as an ONNX file: `rlu export` of its folder."""

from __future__ import annotations

import copy
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from algo.export.onnx_check import Agreement, agreement
from algo.export.onnx_export import FORMATS, Format, export
from algo.nas.folder import SUMMARY, NasFolder
from algo.nas.network import Network, policy_of_bits
from algo.nas.run import images_to_test
from algo.nas.take_away import restored
from algo.nets.folding import fold_batch_norm
from algo.nets.quantisation import model_size_bytes
from algo.support.held_folder import RunFolderError
from sim.files import write_atomically

#: Images that file and network are compared on.
COMPARED = 1000


@dataclass(frozen=True)
class ExportedNetwork:
    """A network found, and the file made of it.

    Attributes:
        file_bytes: of the file.
        weight_bytes: the weights, packed at their bit-widths.
        agreement: what the file gives beside the network, on test images.
    """

    file_bytes: int
    weight_bytes: int
    agreement: Agreement


def export_found(
    path: Path, out: Path, form: Format = "onnx", fold: bool = False, integer_kernels: bool = False
) -> ExportedNetwork:
    """Write the network of a finished search to a file.

    Args:
        path: folder of the search, or of another latency in it.
        out: the file to write.
        form, integer_kernels: see `algo.export.onnx_export.export`.
        fold: fold batch normalisation first.

    Raises:
        ValueError: if the search is not finished, its files are damaged, or its data are gone or changed.
    """
    if form not in FORMATS:
        raise ValueError(f"the format must be one of {', '.join(FORMATS)}, not {form!r}")
    for needed in ("onnx", "onnxruntime") if form == "onnx" else ("onnx", "qonnx"):
        importlib.import_module(needed)
    if not (path / SUMMARY).exists():
        raise RunFolderError(f"{path} is not finished: rlu nas search --resume --out {path}")
    folder = NasFolder.open(path if (path / "config.json").exists() else path.parent)
    network = restored(path, folder.table)
    images, labels = images_to_test(folder)
    images, labels = images[:COMPARED], labels[:COMPARED]
    weight_bytes = model_size_bytes(network, policy_of_bits(network).weight_bits)
    content = file_of(network, torch.from_numpy(images[:2]), form, fold, integer_kernels)
    written = content.SerializeToString()
    write_atomically(out, written)
    return ExportedNetwork(len(written), weight_bytes, agreement(network, content, images, labels))


def file_of(
    network: Network, images: torch.Tensor, form: Format = "onnx", fold: bool = False, integer_kernels: bool = False
) -> Any:
    """A network found as an `onnx.ModelProto`; ``images`` are a few that it takes, the rest as of `export_found`."""
    exported = copy.deepcopy(network)
    if fold:
        fold_batch_norm(exported, images)
    return export(exported, images, form, integer_kernels)
