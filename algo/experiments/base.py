"""What all experiments share: settings, a folder that is made once, and a page of published figures beside ours."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from algo.experiments import EXPERIMENTS
from algo.nets.training_config import Precision, RetrainingMode
from algo.support.user_files import check_object, read_values, reading
from sim.files import write_atomically

Scale = Literal["quick", "cpu", "full"]
#: File names in an experiment's folder.
DATA, TABLE, PLOT = "data.json", "table.md", "plot.png"
NOT_PUBLISHED = "not published"
_FORMAT = 2  # raise it when what `compute` gives changes: older data are then made again


@dataclass(frozen=True)
class Settings:
    """How experiments are run; results do not depend on ``out``, ``jobs`` and ``ray``.

    Attributes:
        device: where the RL unit is: the golden model, or the simulated RTL checked against it.
        scale: ``quick`` tries the commands out, ``cpu`` is that of the documentation, ``full`` is meant for a GPU.
        out: folder of all experiments.
        jobs: processes for independent runs; ``None`` for every core.
        ray: address of a Ray cluster, or ``local``.
        data: data set or file for runs with retraining, in place of the scale's.
        width, noise_std: of the network and of the local images, in place of the scale's.
        weights: whether they are carried or restarted in all runs, in place of what each search usually does.
        precision: what layers compute in while they train, in place of float32.
        seeds: of runs with retraining, in place of the scale's number.
    """

    device: Literal["golden", "sim"] = "golden"
    scale: Scale = "cpu"
    out: Path = Path("runs/experiments")
    jobs: int | None = None
    ray: str | None = None
    data: str | None = None
    width: int | None = None
    noise_std: float | None = None
    weights: RetrainingMode | None = None
    precision: Precision | None = None
    seeds: int | None = None

    def pick(self, *, quick: int, cpu: int, full: int) -> int:
        """The number for the scale."""
        return {"quick": quick, "cpu": cpu, "full": full}[self.scale]


@dataclass(frozen=True)
class Row:
    """A published figure beside ours.

    Attributes:
        quantity: what it is, with its unit.
        published: as published, or `NOT_PUBLISHED`.
        ours: as measured here, or why it was not measured.
        instead: what was used in place of the published set-up, if that differs.
    """

    quantity: str
    published: str
    ours: str
    instead: str = ""


@dataclass(frozen=True)
class Page:
    """How an experiment's data are shown.

    Attributes:
        rows: published beside ours.
        plot: PNG.
        caption: of the plot, in a sentence.
        more: further Markdown tables, by title.
        notes: what a reader needs to judge the figures.
    """

    rows: Sequence[Row]
    plot: bytes
    caption: str
    more: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def markdown(self, plot: str) -> str:
        """The page; ``plot`` is the image's path."""
        body = [(row.quantity, row.published, row.ours, row.instead) for row in self.rows]
        parts = [markdown_table(("", "published", "ours", "used instead"), body), f"![{self.caption}]({plot})"]
        for title, table in self.more.items():
            parts.append(f"{title}\n\n{table}")
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts) + "\n"


class Experiment(Protocol):
    """The functions of an experiment's module.

    A module whose data come from tuning runs names them in ``TASKS``, where `runs.run_for` finds them; one of HQNAS
    names its searches in ``STUDIES``, for `hqnas_runs.search_for`. One that is on another page of the results than the
    usual one names it in ``PAGE``.
    """

    def configuration(self, settings: Settings) -> dict[str, Any]:
        """All that the data depend on, as JSON holds it; with another configuration they are made again."""
        ...

    def compute(self, settings: Settings) -> dict[str, Any]:
        """The data, as JSON holds them; called again after an interruption, it resumes."""
        ...

    def present(self, data: Mapping[str, Any]) -> Page:
        """The page of some data; cheap."""
        ...


@dataclass(frozen=True)
class Done:
    """A finished experiment.

    Attributes:
        folder: holds data, table and plot.
        repeated: whether the data were already there.
        content: of the data file.
        page: how they are shown.
    """

    folder: Path
    repeated: bool
    content: Mapping[str, Any]
    page: Page


def load(name: str) -> Experiment:
    """An experiment by its name; ValueError for an unknown one, which lists all."""
    if name not in EXPERIMENTS:
        known = "\n".join(f"  {known:<15} {summary}" for known, summary in EXPERIMENTS.items())
        raise ValueError(f"unknown experiment {name!r}: choose from\n{known}\n  {'all':<15} one after the other")
    return cast(Experiment, importlib.import_module(f".{name.replace('-', '_')}", __package__))


def perform(name: str, settings: Settings) -> Done:
    """Run an experiment, or use its data if they have the same configuration; write table and plot."""
    experiment = load(name)
    folder = settings.out / name
    content, wanted = _stored(name, settings)
    repeated = content is not None
    if content is None:
        content = {"experiment": name, "configuration": wanted, "results": experiment.compute(settings)}
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / DATA, json.dumps(content, indent=1) + "\n")
        content = json.loads((folder / DATA).read_text())
    with reading(folder / DATA, "{} cannot be shown", "remove it, and it will be made again"):
        page = experiment.present(content["results"])
    write_atomically(folder / PLOT, page.plot)
    write_atomically(folder / TABLE, page.markdown(PLOT))
    return Done(folder, repeated, content, page)


def is_done(name: str, settings: Settings) -> bool:
    """Whether an experiment has data for these settings."""
    return _stored(name, settings)[0] is not None


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def bits(widths: Sequence[int]) -> str:
    """Bit-widths of the layers, or one if they are all equal."""
    return f"all {widths[0]}" if len(set(widths)) == 1 else " ".join(map(str, widths))


def _stored(name: str, settings: Settings) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """An experiment's data, if they are complete and of its configuration; and that configuration."""
    configuration = load(name).configuration(settings)
    # As if read from the file, where tuples are lists.
    wanted = json.loads(
        json.dumps({"format": _FORMAT, "scale": settings.scale, "device": settings.device} | configuration)
    )
    try:
        content = check_object(read_values(settings.out / name / DATA), {"configuration": Any, "results": Any}, DATA)
        return (dict(content) if content["configuration"] == wanted else None), wanted
    except (OSError, ValueError):  # not there, or damaged: made again
        return None, wanted
