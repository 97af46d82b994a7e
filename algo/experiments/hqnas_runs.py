"""Searches of networks (`rlu nas search`) that several experiments share; each is a folder of its own.

Networks are timed only while nothing else runs. So all searches run first, side by side; then each takes its network,
one after the other; then the networks are trained, side by side again.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algo.experiments.base import Scale, Settings, is_done, load
from algo.nas.config import MEASURED, NasConfig
from algo.nas.folder import SCORES, SUMMARY, TABLE, NasFolder
from algo.nas.latency_table import LatencyTable, TableError
from algo.support.cells import run_cells
from algo.support.held_folder import CONFIG, content, put_aside

#: Page of the results that these experiments are on.
PAGE = "hqnas"
#: What searches share, by scale. At ``cpu`` each takes about a minute on one core.
_SCALES: dict[Scale, dict[str, Any]] = {
    "quick": {
        "data": "digits", "space": "tiny", "train_images": 200, "epochs": 2, "warmup": 1, "batch_size": 32,
        "score_images": 40, "statistics_batches": 2, "tuning_epochs": 1, "quantised_epochs": 1,
    },
    "cpu": {
        "data": "fashion-mnist", "space": "small", "train_images": 4000, "epochs": 6, "warmup": 2,
        "batch_size": 32, "score_images": 500, "tuning_epochs": 8, "quantised_epochs": 2,
    },
    "full": {
        "data": "fashion-mnist", "space": "small", "augment": "shift-mirror", "tuning_epochs": 8, "quantised_epochs": 2,
    },
}  # fmt: skip
#: Latencies that are named.
LATENCIES = ("70%", "80%", "90%")
#: Weights (mu, nu) as published: accuracy first, both alike, latency first.
WEIGHTS = ((0.8, 0.2), (0.5, 0.5), (0.2, 0.8))
#: Sizes of the weights that are named, beside the latency of the largest network at 8 bits.
SIZES = ("70%", "50%")
#: The latency of all searches whose latency is not what is compared.
USUAL = "80%"
_CHIP = {"bits": "2,4,8", "latency": "60%"}
#: Of studies whose network is judged before any training.
_UNTRAINED = {"tuning_epochs": 0, "quantised_epochs": 1}
#: What each study sets besides.
STUDIES: dict[str, dict[str, Any]] = {
    **{f"latency {latency}": {"latency": latency} for latency in LATENCIES},
    **{f"mu {mu:g}": {"mu": mu, "nu": nu} for mu, nu in WEIGHTS},
    **{f"size {size}": {"size": size, "latency": "100%"} for size in SIZES},
    "float32": {"bits": "16", "latency": "200%"},
    "evolver": {"device": "evolver", **_CHIP},
    "zigzag": {"device": "zigzag", **_CHIP},
    "no warm-up": {"warmup": 0, **_UNTRAINED},
    "no lead of wide bits": {"bits_bias": 0.0, **_UNTRAINED},
    "two levels": {"levels": "two", **_UNTRAINED},
    "plain mixtures": {"mixtures": "plain", **_UNTRAINED},
    "no annealing": {"temperature": 1.0, **_UNTRAINED},
    "multi": {"paths": "multi"},
    "single": {"paths": "single"},
}
#: The study with the usual settings and the usual latency.
JOINT = f"latency {USUAL}"


@dataclass(frozen=True)
class SearchRun:
    """One search; a cell of `run_cells`.

    Attributes:
        study: what is changed, of `STUDIES`.
        seed: of everything random.
        scale: see `Settings`.
        data: name or file, in place of the scale's.
        table: file of this machine's latency table.
        folder: of the search.
    """

    study: str
    seed: int
    scale: Scale
    data: str | None
    table: str
    folder: str

    @property
    def config(self) -> NasConfig:
        """Its configuration."""
        given = {"data": self.data} if self.data is not None else {}
        return config_of(self.study, self.scale, self.seed, self.table, given)


@dataclass(frozen=True)
class Found:
    """A finished search: its seed, its folder and its summary."""

    seed: int
    folder: NasFolder
    summary: Mapping[str, Any]


def config_of(study: str, scale: Scale, seed: int, device: str, given: Mapping[str, Any] = {}) -> NasConfig:
    """The configuration of a study's search; ``device`` is this machine's latency table."""
    values = {"latency": USUAL, "device": device, "seed": seed} | _SCALES[scale] | dict(given) | STUDIES[study]
    if "mu" in values:
        del values["latency"]
    return NasConfig.of(**values)


def seeds_of(settings: Settings) -> tuple[int, ...]:
    """The seeds of every study."""
    return tuple(range(1, 1 + (settings.seeds or settings.pick(quick=1, cpu=3, full=3))))


def description(settings: Settings, *studies: str) -> dict[str, Any]:
    """What studies depend on, for an experiment's configuration, but for latencies: each machine has others."""
    given = {"data": settings.data} if settings.data is not None else {}
    configs = {study: config_of(study, settings.scale, 1, MEASURED, given).to_json() for study in studies}
    return {"studies": configs, "seeds": seeds_of(settings)}


def searches(settings: Settings, *studies: str) -> dict[str, list[Found]]:
    """The searches of studies, one a seed; unfinished ones are resumed, missing ones are made, on this machine alone.

    Raises:
        ValueError: for a latency that no network keeps, before anything is searched.
    """
    runs = [run_of(settings, study, seed) for study in studies for seed in seeds_of(settings)]
    waiting = [one for one in runs if not (Path(one.folder) / SUMMARY).exists() or not _same(one)]
    if waiting:
        from algo.nas.limits import limits_of
        from algo.nas.run import chosen

        table = table_of(settings)
        for one in waiting:
            if one.config.space.device == one.table:
                limits_of(one.config.aim, table.narrowed(one.config.searched.bits))
        run_cells(_search, waiting, jobs=settings.jobs, label="searches")
        for one in waiting:
            with _held(one) as held:
                chosen(held)
        run_cells(_finish, waiting, jobs=settings.jobs, label="networks")
    found: dict[str, list[Found]] = {study: [] for study in studies}
    for one in runs:
        done = NasFolder.open(Path(one.folder))
        assert done.summary is not None, "_finish has written it"
        found[one.study].append(Found(one.seed, done, done.summary))
    return found


def search_for(names: Sequence[str], settings: Settings) -> None:
    """Make the searches of several experiments together: then no core waits for the last search of each."""
    waiting = [name for name in names if not is_done(name, settings)]
    studies = {study: None for name in waiting for study in getattr(load(name), "STUDIES", ())}
    if studies:
        searches(settings, *studies)


def is_trained(study: str) -> bool:
    """Whether a study's network is trained after the search."""
    return not _UNTRAINED.items() <= STUDIES[study].items()


def run_of(settings: Settings, study: str, seed: int) -> SearchRun:
    """A search at the settings' scale."""
    folder = settings.out / "hqnas" / f"{study.replace(' ', '-').replace('%', 'pc')}-seed{seed}"
    table = settings.out / "hqnas" / "table.json"
    return SearchRun(study, seed, settings.scale, settings.data, str(table.resolve()), str(folder.resolve()))


def table_of(settings: Settings) -> LatencyTable:
    """This machine's latency table, measured once a folder; measured again on another machine."""
    from algo.nas.measured_table import SECONDS, details_here, measured_table
    from algo.nets.data.datasets import load_dataset

    path = Path(run_of(settings, JOINT, 1).table)
    config = config_of(JOINT, settings.scale, 1, MEASURED, {"data": settings.data} if settings.data else {})
    dataset = load_dataset(config.data.data)
    channels, height, width = dataset.train_images.shape[1:]
    if path.exists():
        try:
            table = LatencyTable.read(path)
            table.check_suits(config.searched, (channels, height, width), dataset.classes)
            table.check_details(details_here())
            return table
        except TableError as error:
            print(f"{path} is measured again: {error}", file=sys.stderr)
    seconds = 0.0 if settings.scale == "quick" else SECONDS
    table = measured_table(config.searched, (channels, height, width), dataset.classes, seconds=seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.write(path)
    return table


def measured_in_turn(models: Sequence[Any], scale: Scale, each_s: float = 2.0) -> list[float]:
    """Latencies of ONNX models on this machine, ms, timed in turn for some seconds each."""
    from algo.nas.measured_table import measured_ms

    return measured_ms(models, seconds=0.0 if scale == "quick" else each_s * len(models))


def digest_of(settings: Settings) -> str:
    """Of this machine's table: what cells with latencies depend on."""
    return hashlib.sha256(Path(run_of(settings, JOINT, 1).table).read_bytes()).hexdigest()[:16]


def _same(one: SearchRun) -> bool:
    """Whether the folder is of the cell's configuration, wherever it lies, and its latencies are of this machine."""
    from algo.nas.measured_table import details_here

    try:
        folder = NasFolder.open(Path(one.folder))
        if (folder.path / TABLE).exists() and folder.table.device == MEASURED:
            folder.table.check_details(details_here())
        return _without_place(folder.config) == _without_place(json.loads(json.dumps(one.config.to_json())))
    except ValueError:
        return False


def _without_place(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the name of its device's file alone."""
    space = dict(config["space"])
    return {**config, "space": {**space, "device": Path(space["device"]).name}}


def _held(one: SearchRun) -> NasFolder:
    """The search's folder, held: the existing one if it has this configuration, else a new one; none is deleted."""
    path = Path(one.folder)
    if (path / CONFIG).exists() and _same(one):
        folder = NasFolder.open(path)
        folder.hold()
        return folder
    if content(path):
        print(
            f"{path} has another configuration, or is from another machine: it is put aside as {put_aside(path)}",
            file=sys.stderr,
        )
    return NasFolder.create(path, one.config.to_json())


def _search(one: SearchRun) -> None:
    from algo.nas.run import searched
    from algo.nets.train.device_choice import training_device
    from algo.nets.train.sgd import reproducible

    with _held(one) as folder:
        if not (folder.path / SCORES).exists():
            with reproducible(one.config.threads, training_device()):
                searched(one.config, folder, quiet)


def _finish(one: SearchRun) -> None:
    from algo.nas.run import run

    with _held(one) as folder:
        run(one.config, folder, quiet)


def quiet(text: str) -> None:
    """Take a message and say nothing."""
    del text
