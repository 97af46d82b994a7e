"""The networks of a finished run, trained again to the bit, and how right they are on images that nobody saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from torch import nn
from tqdm import tqdm

from algo.nets.data.datasets import fresh_images
from algo.nets.train.device_choice import training_device
from algo.nets.train.retrainer import Retrainer
from algo.nets.train.sgd import accuracy_of, reproducible, tensors
from algo.nets.train.task import Task
from algo.runs.config import TuneConfig
from algo.runs.run_folder import CHECKPOINT, RunFolder
from algo.space.dimensions import DIMENSIONS
from algo.space.policy import PolicySpace
from algo.support.held_folder import RunFolderError
from algo.support.user_files import reading

Which = Literal["found", "best-seen", "int8"]
WHICH: tuple[Which, ...] = get_args(Which)
_ROWS: dict[Which, str] = {"found": "found", "best-seen": "best_seen", "int8": "baseline_int8"}


def trained_again(
    folder: RunFolder,
    config: TuneConfig,
    retrainer: Retrainer,
    space: PolicySpace,
    which: Which,
    say: Callable[[str], None],
) -> tuple[nn.Module, float, Mapping[str, Any]]:
    """A network of a finished run: the very one whose accuracy its summary gives, on the machine it was made on.

    Run folders hold the weights after the last iteration only, so that the others are computed again. ``found`` goes
    on from these weights by one retraining, as the run did; ``int8`` retrains the pre-trained network at 8 bits; and
    ``best-seen`` retrains the pre-trained network under that policy if the run restarted for each, or else goes
    through all policies up to it, as its weights carry the traces of all of them.

    Args:
        folder: of the run.
        config: its configuration.
        retrainer: as the configuration says; at its start for ``best-seen``.
        space: of the run's policies.
        which: one of `WHICH`.
        say: where progress messages go.

    Returns:
        The network on the CPU in evaluation mode, its accuracy, the row of the summary.

    Raises:
        RunFolderError: if the run is not finished, or was not one of `rlu tune`.
    """
    summary = folder.summary
    if summary is None:
        raise RunFolderError(f"{folder.path} is not finished; resume: rlu tune --resume --out {folder.path}")
    row = summary[_ROWS[which]]
    same_data = "data" in folder.inputs or retrainer.source == Path(summary["data"]).name  # the former are checked
    chosen = {name: tuple(row[name]) for name in DIMENSIONS if name in row}
    try:
        if not same_data or retrainer.layers != space.layers:
            raise ValueError
        policy = space.spread(chosen)
    except ValueError:
        raise RunFolderError(
            f"{folder.path} does not match its config.json: network or data ({summary['data']!r}) differ; export your "
            "own network with algo.export.onnx_export.export"
        ) from None
    iteration = None
    begun = retrainer.state()
    saved = folder.read_checkpoint()
    if saved is None:
        raise RunFolderError(f"{folder.path} has no checkpoint, which holds the weights: begin the run again")
    with reading(folder.path / CHECKPOINT, "{} is not of this run", raises=RunFolderError):
        retrainer.restore(saved[-1])  # refuses those of other images or settings
    if which == "found":
        iteration = len(folder.steps)
    else:
        retrainer.restore(begun)
    if which == "best-seen":
        iteration = row["iteration"]
        before = folder.steps[:iteration] if config.task.weights == "carried" else []
        for step in tqdm(before, desc="retraining as the run did", unit="policy", leave=False, disable=None):
            if step.served == "trained":
                retrainer.accuracy(space.decode(step.actions), step.iteration)
    network, accuracy = retrainer.network(policy, iteration)
    if accuracy != row["accuracy"]:
        say(
            f"{which}: the network trained again has an accuracy of {accuracy:.4f}, the run's had "
            f"{row['accuracy']:.4f}: another machine, device or version of PyTorch adds up in another order"
        )
    return network, accuracy, row


def fresh_accuracy(network: nn.Module, task: Task, images: int) -> float:
    """Fraction of images that were neither trained on nor tested with in a run, with noise of their own, 0..1.

    Args:
        network: of the run, on the CPU.
        task: of the run.
        images: how many; if the data set has fewer, they are used again with other noise.
    """
    fresh, labels = fresh_images(task.dataset, task.local, images, task.seed)
    device = training_device()
    with reproducible(task.training.threads, device):
        return accuracy_of(network.to(device), *tensors(fresh, labels, device))
