"""The networks of a finished run, trained again to the bit, exported, and set side by side: what `rlu export` does."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from algo.export.onnx_check import Agreement, agreement
from algo.export.onnx_export import FORMATS, Format, export
from algo.nets.folding import fold_batch_norm
from algo.nets.quantisation import model_size_bytes, quantised_layers
from algo.runs.run_folder import RunFolder
from algo.runs.summary_text import baseline_name
from algo.runs.trained_again import WHICH, Which, trained_again
from algo.runs.tune import chip_of, resumed_config, retrainer_of, run_space, task_of
from algo.space.dimensions import DIMENSIONS
from algo.support.figures import shown_cost
from sim.files import write_atomically


@dataclass(frozen=True)
class Exported:
    """A network of a run beside the file made of it.

    Attributes:
        policy: which of the run's policies: ``found``, ``best-seen`` or ``int8``.
        measured: its row of the run's summary: bit-widths, operating point, accuracy, latency, energy, score.
        accuracy: fraction of the local test images that the network, trained again, classifies rightly, 0..1.
        weight_bytes: its weights, packed at their bit-widths.
        float_bytes: the same in float32.
        file_bytes: the file.
        agreement: what the file gives beside the network, on the local test images.
    """

    policy: Which
    measured: Mapping[str, Any]
    accuracy: float
    weight_bytes: int
    float_bytes: int
    file_bytes: int
    agreement: Agreement


def export_run(
    path: Path,
    out: Path,
    which: Which = "found",
    form: Format = "onnx",
    fold: bool = False,
    integer_kernels: bool = False,
    say: Callable[[str], None] = print,
) -> list[Exported]:
    """Write a network of a finished run to a file, and compare it with the INT8 baseline, exported likewise.

    Args:
        path: the run's folder.
        out: the file to write.
        which: one of `WHICH`.
        form: see `algo.export.onnx_export.export`.
        fold: fold batch normalisation first, where the run has not done so already.
        integer_kernels: see `algo.export.onnx_export.export`.
        say: where progress messages go.

    Returns:
        The INT8 baseline, then the network written (the baseline alone if that is what was asked for).

    Raises:
        ValueError: as `trained_again` and `algo.export.onnx_export.export`; if the run is one of another version, or
            its data are gone or changed; for an unknown policy.
    """
    if which not in WHICH:
        raise ValueError(f"the policy must be one of {', '.join(WHICH)}, not {which!r}")
    if form not in FORMATS:
        raise ValueError(f"the format must be one of {', '.join(FORMATS)}, not {form!r}")
    for needed in ("onnx", "onnxruntime") if form == "onnx" else ("onnx", "qonnx"):
        importlib.import_module(needed)  # before anything is trained
    folder = RunFolder.open(path)
    config = resumed_config(folder, {})
    task = task_of(config, folder, say)
    retrainer = retrainer_of(task, say)
    space = run_space(config, chip_of(config, folder, say, task), retrainer.layers)
    images, labels = retrainer.test_images()
    few = torch.from_numpy(images[:2])
    rows: list[Exported] = []
    # The baseline last: it starts from the pre-trained weights, whatever was trained before it.
    wanted: tuple[Which, ...] = ("int8",) if which == "int8" else (which, "int8")
    for name in wanted:
        network, accuracy, measured = trained_again(folder, config, retrainer, space, name, say)
        exported = copy.deepcopy(network)
        if fold and not config.task.training.fold_batch_norm:
            fold_batch_norm(exported, few)
        model = export(exported, few, form, integer_kernels)
        content = model.SerializeToString()
        if name == which:
            write_atomically(out, content)
        rows.append(
            Exported(
                policy=name,
                measured=measured,
                accuracy=accuracy,
                weight_bytes=model_size_bytes(network, [layer.weight_bits for _, layer in quantised_layers(network)]),
                float_bytes=4 * sum(layer.weight.numel() for _, layer in quantised_layers(network)),
                file_bytes=len(content),
                agreement=agreement(network, model, images, labels),
            )
        )
    return rows[::-1]


def before_after(rows: list[Exported]) -> str:
    """Markdown table of exported networks side by side, a column each; the changes where there are two."""

    def bits(values: list[int]) -> str:
        return str(values[0]) if len(set(values)) == 1 else " ".join(map(str, values))

    def name_of(row: Exported) -> str:
        return baseline_name(row.measured) if row.policy == "int8" else row.policy.replace("-", " ")

    program = rows[0].agreement.program
    lines: list[tuple[str, Callable[[Exported], str], Callable[[Exported], float | None] | None]] = [
        *(
            (dimension.title, lambda r, name=dimension.name: bits(r.measured[name]), None)
            for dimension in DIMENSIONS.values()
            if dimension.name in rows[0].measured
        ),
        ("voltage, V", lambda r: _figure(r.measured["voltage_v"], ".2f"), None),
        ("frequency, MHz", lambda r: _figure(r.measured["frequency_mhz"], "g"), None),
        ("weights, packed, bytes", lambda r: f"{r.weight_bytes:,}", lambda r: r.weight_bytes),
        ("the same in float32", lambda r: f"{r.float_bytes:,}", None),
        ("file, bytes", lambda r: f"{r.file_bytes:,}", lambda r: r.file_bytes),
        ("accuracy, PyTorch", lambda r: f"{r.accuracy:.3f}", None),
        (f"accuracy, {program}", lambda r: f"{r.agreement.accuracy:.3f}", None),
        ("latency, ms (chip)", lambda r: shown_cost(r.measured["latency_ms"]), lambda r: r.measured["latency_ms"]),
        ("energy, uJ (chip)", lambda r: _energy(r.measured["energy_uj"]), lambda r: r.measured["energy_uj"]),
        ("score", lambda r: f"{r.measured['score']:.3f}", None),
        ("same predictions", _same_predictions, None),
        ("same logits, to float rounding", lambda r: f"{r.agreement.same_logits} of {r.agreement.images}", None),
        ("largest difference of a logit", lambda r: f"{r.agreement.largest_difference:.2g}", None),
        ("largest logit", lambda r: f"{r.agreement.largest_logit:.3g}", None),
        ("logits that differ at all", lambda r: f"{r.agreement.differing_logits}", None),
    ]
    two = len(rows) == 2
    text = ["| | " + " | ".join(name_of(r) for r in rows) + (" | change |" if two else " |")]
    text.append("| --- |" + " ---: |" * (len(rows) + two))
    for name, show, number in lines:
        cells = [show(row) for row in rows]
        if two:
            before, after = (number(row) if number else None for row in rows)
            cells.append("" if not before or after is None else f"{after / before - 1:+.0%}")
        text.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(text)


def as_json(rows: list[Exported]) -> list[dict[str, Any]]:
    """The same as plain values."""
    return [asdict(row) for row in rows]


def _same_predictions(row: Exported) -> str:
    found = row.agreement
    ties = f", {found.ties} too close to tell" if found.ties else ""
    return f"{found.same_predictions} of {found.images}{ties}"


def _energy(energy_uj: float | None) -> str:
    return "unavailable" if energy_uj is None else shown_cost(energy_uj)


def _figure(figure: float | None, how: str) -> str:
    return "unavailable" if figure is None else format(figure, how)
