"""A search from data to a trained network, in a folder: whatever stops it, it goes on to the same network.

Each part leaves its file, whole or not at all: the table, the state after every epoch, the scores, the network.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from algo.nas.config import MEASURED, AimConfig, NasConfig, SpaceConfig, is_file, space_of
from algo.nas.derive import Derived, argmax, fastest, front
from algo.nas.finish import Finished, finish
from algo.nas.folder import CHOICE, FRONT, PROGRESS, SCORES, STATE, SUMMARY, TABLE, NasFolder
from algo.nas.halves import halves
from algo.nas.latency_table import Floats, LatencyTable, TableError
from algo.nas.limits import Limits, limits_of
from algo.nas.network import Network
from algo.nas.scores import collapsed, judged, learned_scores, measured_scores, probabilities_of
from algo.nas.search import Diverged, Epoch, Part, Search, spread
from algo.nas.sizes import sizes_of
from algo.nas.space import Architecture, Space
from algo.nas.supernet import SuperNet
from algo.nas.take_away import take_away
from algo.nets.data.datasets import Dataset, load_dataset
from algo.nets.train.augment import CHANGES
from algo.nets.train.device_choice import training_device
from algo.nets.train.sgd import reproducible, tensors
from algo.support.held_folder import HeldFolder, RunFolderError
from algo.support.user_files import reading

#: Networks that are measured at most to find one that keeps the limit, and seconds for each.
MOST_MEASURED, MEASURE_S = 5, 2.0


def images_to_test(folder: NasFolder) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The test images (N, C, H, W) and labels (N,) of a search; raises RunFolderError if the data changed."""
    data = folder.settings.data
    dataset = load_dataset(data.data, Path(data.data_folder) if data.data_folder else None)
    folder.check_input("data", f"data {data.data}", dataset.digest(), lambda text: None)
    return dataset.test_images, dataset.test_labels


def table_of(config: SpaceConfig, space: Space, image: tuple[int, int, int], classes: int) -> LatencyTable:
    """The latency table of a configuration's device: read, modelled, or measured now.

    Raises:
        TableError: for a table of another space, other images, or another machine.
        ValueError, OSError, ModuleNotFoundError: if there is none to be had.
    """
    device = config.device
    if is_file(device) and Path(device).suffix == ".json":
        table = LatencyTable.read(Path(device)).narrowed(space.bits)
        table.check_suits(space, image, classes)
        if table.device == MEASURED:
            from algo.nas.measured_table import details_here

            table.check_details(details_here())
        return table
    if device == MEASURED:
        from algo.nas.measured_table import measured_table

        return measured_table(space, image, classes)
    from algo.nas.chip_table import chip_table

    return chip_table(device, space, image, classes)


def table_in(folder: HeldFolder, config: SpaceConfig, dataset: Dataset) -> LatencyTable:
    """The latency table of a run: the one in its folder, or a new one, which is kept there. Errors as of `table_of`."""
    channels, height, width = map(int, dataset.train_images.shape[1:])
    space, path = space_of(config), folder.path / TABLE
    if path.exists():
        table = LatencyTable.read(path)
        table.check_suits(space, (channels, height, width), dataset.classes)
        return table
    table = table_of(config, space, (channels, height, width), dataset.classes)
    folder.write(TABLE, json.dumps(table.to_json(), indent=1) + "\n")
    return table


class Task:
    """Data, table and super-network of a search, as far as its folder has come.

    Args:
        config: of the search.
        folder: held for writing.
        say: is told what a user should know.

    Attributes:
        table: of the device.
        limits: what to keep; ``None`` with mu and nu.
        learned, judged, all, test: images and labels: the two halves, both, and those to test with.
        network, search: the super-network, and the search that trains it.
    """

    def __init__(self, config: NasConfig, folder: NasFolder, say: Callable[[str], None]) -> None:
        self.config, self.folder = config, folder
        data = config.data
        self.dataset: Dataset = load_dataset(data.data, Path(data.data_folder) if data.data_folder else None)
        folder.check_input("data", f"data {data.data}", self.dataset.digest(), say)
        self.table = table_in(folder, config.space, self.dataset)
        space, self.image = self.table.space, self.table.image
        self.limits = limits_of(config.aim, self.table)
        learned, judged_by = halves(self.dataset.train_labels, self.dataset.classes, config.seed, data.train_images)
        self.learned, self.judged = self._part(learned), self._part(judged_by)
        self.all = self._part(np.sort(np.concatenate([learned, judged_by])))
        device = training_device()
        self.test = tensors(self.dataset.test_images, self.dataset.test_labels, device)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(config.seed)
            learning = config.learning
            self.network = SuperNet(space, self.image, self.dataset.classes, learning.paths, learning.bits_bias)
        self.network.to(device)
        self.search = Search(
            self.network, self.table, self.learned, self.judged, learning, config.aim, self.limits, config.seed,
            CHANGES[data.augment],
        )  # fmt: skip
        if folder.started:
            with reading(folder.path / STATE, "{} is damaged", "begin again with another --out", RunFolderError):
                self.search.restore((folder.path / STATE).read_bytes())

    def _part(self, numbers: Any) -> Part:
        dataset = self.dataset
        return tensors(dataset.train_images[numbers], dataset.train_labels[numbers], training_device())

    @property
    def scored_by(self) -> Part:
        """The images that scores are measured on."""
        return spread(self.judged, self.config.choice.score_images)


def run(
    config: NasConfig,
    folder: NasFolder,
    say: Callable[[str], None],
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> dict[str, Any]:
    """Search, choose, train and write down a network, from wherever the folder is.

    Args:
        config: of the search; the folder's own if it is resumed.
        folder: new, or of an interrupted search.
        say: is told what a user should know.
        on_epoch: is told of every epoch.

    Returns:
        The summary.

    Raises:
        ValueError: for data, a table or an aim that do not go together, before anything is trained.
        Diverged: if the loss is not a number; the message names the last good state.
    """
    with folder, reproducible(config.threads, training_device()):
        done = folder.summary
        if done is not None:
            return done
        task = searched(config, folder, say, on_epoch)
        return _finished(task, chosen(folder))


def searched(
    config: NasConfig,
    folder: NasFolder,
    say: Callable[[str], None],
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Task:
    """Search, and score all options; what is done is not done again. Arguments and errors as of `run`.

    The folder must be held, and torch be `reproducible`.
    """
    task = Task(config, folder, say)
    _search(task, on_epoch)
    _score(task)
    return task


def _search(task: Task, on_epoch: Callable[[Epoch], None]) -> None:
    search, folder = task.search, task.folder
    epochs = task.config.learning.epochs
    for epoch in search.epochs:
        on_epoch(epoch)
    _write_progress(folder, search)
    with tqdm(total=epochs, initial=len(search.epochs), unit="epoch", disable=None, file=sys.stderr) as bar:
        while not search.finished:
            start = len(search.epochs)

            def on_step(done: int, of: int, loss: float, start: int = start) -> None:
                bar.n = round(start + done / of, 2)
                bar.set_postfix_str(f"loss {loss:.3f}{_so_far(search)}", refresh=False)
                bar.update(0)

            try:
                epoch = search.epoch(on_step)
            except Diverged as error:
                last = f"{folder.path / STATE} holds the state after epoch {start}" if start else "no epoch is done"
                raise Diverged(f"{error}: {last}; try a lower --learning-rate or --reach in a new folder") from None
            folder.write(STATE, search.state())
            _write_progress(folder, search)
            on_epoch(epoch)


def _so_far(search: Search) -> str:
    """What the last epoch came to, for the progress bar."""
    if not search.epochs:
        return ""
    last = search.epochs[-1]
    return f", expected {last.expected_ms:.4g} ms, entropy {last.path_entropy:.2f} and {last.bit_entropy:.2f} bits"


def _write_progress(folder: NasFolder, search: Search) -> None:
    lines = "".join(json.dumps(epoch.to_json()) + "\n" for epoch in search.epochs)
    if lines:
        folder.write(PROGRESS, lines)


def _score(task: Task) -> None:
    """Scores of all options, measured or learned; kept, so that other limits need no other search."""
    folder, choice = task.folder, task.config.choice
    if not task.search.finished:
        raise RunFolderError(f"{folder.path / STATE} is not of the end of the search: begin again with another --out")
    if not (folder.path / SCORES).exists():
        start = time.perf_counter()
        measured = choice.scores == "measured"
        scores = measured_scores(task.network, *task.scored_by) if measured else learned_scores(task.network)
        paths, bits = probabilities_of(task.network)
        content = {
            "scores": scores.tolist(),
            "kind": choice.scores,
            "options": [list(option) for option in task.table.space.options],
            "theta": paths.tolist(),
            "phi": bits.tolist(),
            "seconds": time.perf_counter() - start,
        }
        folder.write(SCORES, json.dumps(content, indent=1) + "\n")
    networks = [_as_json(one) for one in front(task.table, folder.scores)]
    folder.write(FRONT, json.dumps({"networks": networks}, indent=1) + "\n")


def chosen(folder: NasFolder) -> dict[str, Any]:
    """Which network a search with scores takes, and why; kept, because a measurement is not the same twice.

    Args:
        folder: held for writing.
    """
    table = folder.table
    limits = limits_of(folder.settings.aim, table)
    if not (folder.path / CHOICE).exists():
        if limits is None:
            published = argmax(table, *folder.probabilities)
            found = {"chosen": "most probable", **_as_json(Derived(published, 0.0, table.ms(published)))}
        else:
            found = {"chosen": "best within the limit", **kept(limits, folder.scores)}
        folder.write(CHOICE, json.dumps(found, indent=1) + "\n")
    return folder.choice


def _finished(task: Task, choice: Mapping[str, Any]) -> dict[str, Any]:
    table, config = task.table, task.config
    published = argmax(table, *task.folder.probabilities)
    architecture = table.space.checked(choice["architecture"])
    found = trained(task, architecture)
    epochs = task.search.epochs
    discrete = found.pop("discrete_accuracy")
    summary = {
        "data": task.dataset.name,
        "space": table.space.name,
        "device": table.device,
        "paths": config.learning.paths,
        **(task.limits.to_json() if task.limits else {"limit_ms": None, "limit_bytes": None}),
        **choice,
        "published_choice": {"architecture": [list(option) for option in published], "latency_ms": table.ms(published)},
        "mixed_accuracy": epochs[-1].accuracy,
        "discrete_accuracy": discrete,
        "gap": epochs[-1].accuracy - discrete,
        "collapsed": collapsed(table.space, architecture),
        **found,
        "search_s": sum(epoch.seconds for epoch in epochs),
    }
    task.folder.write(SUMMARY, json.dumps(summary, indent=1) + "\n")
    return summary


def kept(limits: Limits, scores: Floats) -> dict[str, Any]:
    """The best network within limits; on this machine it is measured, and what the table says is corrected by that.

    A table predicts whole networks to a few per cent, and one that was made on busy cores says too much. So a network
    that was measured above the limit lowers what the table may say of the next one by as much, and one that is faster
    than the table says raises it.
    """
    table, limit_ms = limits.table, limits.ms
    found = limits.best(scores)
    if table.device != MEASURED:
        return _as_json(found)
    from algo.nas.measured_table import details_here, measured_ms
    from algo.nas.onnx_blocks import network_model

    try:
        table.check_details(details_here())
    except TableError:  # a folder from another machine: the limit is one of that machine
        return _as_json(found)

    allowed, least, tried = limit_ms, fastest(table).ms, []
    for _ in range(MOST_MEASURED):
        model = network_model(table.space, found.architecture, table.image, table.classes)
        [measured] = measured_ms([model], seconds=MEASURE_S)
        tried.append({**_as_json(found), "measured_ms": measured})
        if measured > limit_ms:
            allowed = min(allowed, found.ms) * min(0.995, limit_ms / measured)
        elif len(tried) == 1:
            allowed = max(allowed, limit_ms * found.ms / measured)
        else:
            break
        if allowed < least:
            break
        try:
            found = limits.best(scores, allowed)
        except ValueError:  # none as fast is as small
            break
        if _as_json(found)["architecture"] in [one["architecture"] for one in tried]:
            break
    within = [one for one in tried if one["measured_ms"] <= limit_ms]
    if within:
        return max(within, key=lambda one: float(one["score"]))
    return min(tried, key=lambda one: float(one["measured_ms"]))


def trained(task: Task, architecture: Architecture, into: Path | None = None) -> dict[str, Any]:
    """Train a network that the search has scored, and write it down; its figures.

    Args:
        task: whose super-network has learnt.
        architecture: of the network.
        into: folder for its files; default that of the search.
    """
    discrete, network, done = tuned(task, architecture)
    into = into or task.folder.path
    for name, content in take_away(network, task.table).items():
        task.folder.write(str((into / name).relative_to(task.folder.path)), content)
    return {
        "discrete_accuracy": discrete,
        "accuracy": done.accuracy,
        "float_accuracy": done.float_accuracy,
        "size_bytes": done.size_bytes,
        "training_s": done.seconds,
    }


def tuned(task: Task, architecture: Architecture) -> tuple[float, Network, Finished]:
    """A network trained from the weights of the search, or from fresh ones; nothing is written.

    Returns:
        Its accuracy on the validation half before the training, 0..1; the network, quantised; what became of it.
    """
    config = task.config
    discrete = judged(task.network, architecture, task.learned[0], *task.judged, config.choice.statistics_batches)
    if config.choice.begin == "search":
        network = task.network.extract(architecture)
    else:
        network = fresh(task, task.table.space, architecture)
    batch, change = config.learning.batch_size, CHANGES[config.data.augment]
    return (
        discrete,
        network,
        finish(network, task.all, task.test, config.choice, batch, config.seed, change, task.table.in_float32),
    )


def fresh(task: Task, space: Space, architecture: Architecture) -> Network:
    """A network of a space with fresh weights, drawn with the search's seed, on the device it is trained on."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(task.config.seed)
        network = Network(space, architecture, task.image[0], task.dataset.classes)
    return network.to(task.test[0].device)


def derived(
    folder: NasFolder, latency: str | None, train: bool, say: Callable[[str], None], size: str | None = None
) -> Mapping[str, Any]:
    """The best network of a finished search within other limits; nothing is searched again.

    Args:
        folder: of the search; its scores and its table are used.
        latency: such as ``0.8ms`` or ``60%``; ``None`` for that of the search.
        train: whether to train it, into a folder of its own in the search's.
        say: is told what a user should know.
        size: such as ``60KiB`` or ``50%``; ``None`` for that of the search, if it had one.

    Raises:
        ValueError: for limits that no network meets.
    """
    config = folder.settings
    table, scores = folder.table, folder.scores
    aim = AimConfig(latency=latency or config.aim.latency, size=size or config.aim.size)
    limits = limits_of(aim, table)
    if limits is None:
        raise ValueError(f"{folder.path} was searched with mu and nu: name the latency to keep")
    found = kept(limits, scores)
    architecture = table.space.checked(found["architecture"])
    result = {
        **limits.to_json(),
        "size_bytes": sizes_of(table).of(architecture),
        **found,
        "collapsed": collapsed(table.space, architecture),
    }
    if not train:
        return result
    with folder, reproducible(config.threads, training_device()):
        task = Task(config, folder, say)
        if not task.search.finished:
            raise RunFolderError(
                f"{folder.path} has no {STATE} of a finished search, whose weights judge the network first: put it "
                "back, or search again with another --out"
            )
        name = f"latency-{limits.ms:.9g}ms"
        into = folder.path / (name if limits.most_bytes is None else f"{name}-{limits.most_bytes:.9g}bytes")
        into.mkdir(exist_ok=True)
        result |= trained(task, architecture, into) | {"folder": str(into)}
        folder.write(f"{into.name}/{SUMMARY}", json.dumps(result, indent=1) + "\n")
    return result


def _as_json(found: Derived) -> dict[str, Any]:
    return {
        "architecture": [list(option) for option in found.architecture],
        "score": found.score,
        "latency_ms": found.ms,
    }
