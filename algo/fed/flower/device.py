"""A client in a folder of its own: it takes one message at a time, and keeps what the next one depends on.

Every message has a process of its own. So all that a client knows is in its folder: what it was told of the run, and
its state after each of the last two rounds. A server that was killed before it kept a round sends it again, and gets
the same reply.
"""

from __future__ import annotations

import json
import zlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from algo.fed import own_network
from algo.fed.client import Client, Part
from algo.fed.config import DeviceConfig, FedConfig, PartitionConfig, preferences_of
from algo.fed.federation import check_zip, client_of
from algo.fed.learners import Preference
from algo.fed.run import dataset_of, parts_of, shares_of
from algo.fed.wire import VERSION, Message
from algo.nas.latency_table import LatencyTable
from algo.nets.data.datasets import Dataset
from algo.nets.saving import saved
from algo.nets.train.device_choice import training_device
from algo.nets.train.sgd import reproducible, tensors
from algo.support.held_folder import CONFIG, DAMAGED, HeldFolder
from algo.support.user_files import check_object, parse_json, reading

TABLE, RUN = "table.json", "run.json"
#: What the client's own network came to, and the network itself.
SUMMARY, NETWORK = "summary.json", "network.pt"
_STATES = "state-*.pt"
#: Bytes that a server tells a client at most, unpacked: many times those of the largest table.
_MOST_TOLD = 2**25


class Refused(ValueError):
    """Client and server do not go together; the message says why."""


class DeviceFolder(HeldFolder):
    """The folder of a client."""

    @property
    def started(self) -> bool:
        """Whether it has been told of a run."""
        return (self.path / RUN).exists()

    @property
    def settings(self) -> DeviceConfig:
        """What the client is."""
        with reading(self.path / CONFIG, *DAMAGED):
            return DeviceConfig.from_json(self.config)

    @property
    def run(self) -> FedConfig:
        """The run, as the server has told it."""
        with reading(self.path / RUN, *DAMAGED):
            return FedConfig.from_json(check_object(parse_json((self.path / RUN).read_bytes()), {}, "what it holds"))

    @property
    def table(self) -> LatencyTable:
        """Latencies of the client's device, or the server's."""
        own = self.settings.device
        return LatencyTable.read(Path(own) if own else self.path / TABLE)

    def states(self) -> dict[int, Path]:
        """By the number of rounds that are done, files of what the next one depends on; rising."""
        paths = [path for path in sorted(self.path.glob(_STATES)) if path.stem.removeprefix("state-").isdecimal()]
        return {int(path.stem.removeprefix("state-")): path for path in paths}


def load(folder: DeviceFolder) -> None:
    """Load what every message needs, before this process forks: the images, and all that training imports.

    Nothing is trained: PyTorch may refuse a backward pass in a fork of a process that has run one.
    """
    _dataset(_partition(folder.settings))
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])  # imports much that `import torch` does not


def told(config: FedConfig, table: LatencyTable) -> bytes:
    """What the server tells every client, once."""
    content = {
        "version": version("rlu-cosim"),
        "flower": version("flwr"),
        "wire": VERSION,
        "run": config.to_json(),
        "table": table.to_json(),
    }
    return zlib.compress(json.dumps(content).encode(), 9)


def greet(folder: DeviceFolder, content: bytes) -> dict[str, Any]:
    """Take what the server tells, and say what this client is.

    Args:
        folder: of the client, not held.
        content: as `told` gives it.

    Raises:
        Refused: if client and server do not go together.
    """
    unpacking = zlib.decompressobj()
    text = unpacking.decompress(content, _MOST_TOLD)
    if unpacking.unconsumed_tail:
        raise Refused(f"the server tells more than {_MOST_TOLD:,} bytes")
    said = check_object(
        parse_json(text),
        {"version": str, "flower": str, "wire": int, "run": dict[str, Any], "table": dict[str, Any]},
        "what the server tells",
    )
    ours = version("rlu-cosim")
    if said["version"] != ours or said["wire"] != VERSION:
        raise Refused(
            f"the server has rlu-cosim {said['version']} with wire format {said['wire']}, and the client {ours} with "
            f"{VERSION}: update the older one"
        )
    if said["flower"] != version("flwr"):
        raise Refused(
            f"the server has Flower {said['flower']}, and the client {version('flwr')}: install the same on both"
        )
    run, own = FedConfig.from_json(said["run"]), folder.settings
    table = LatencyTable.from_json(said["table"])
    if own.index >= run.partition.clients:
        raise Refused(f"the run has {run.partition.clients} clients, from 0; there is no client {own.index}")
    dataset = _dataset(_partition(own))
    _check_suits(dataset, table)
    if own.device is not None:
        mine = LatencyTable.read(Path(own.device))
        mine.check_suits(table.space, table.image, table.classes)
    with folder:
        folder.write(RUN, json.dumps(run.to_json()) + "\n")
        folder.write(TABLE, json.dumps(table.to_json()) + "\n")
        return {"index": own.index, "images": len(_parts(folder, dataset)[0][0])}


def answer(folder: DeviceFolder, blob: bytes) -> bytes:
    """The reply to a message of a round; what the next one depends on is kept before it is sent.

    Raises:
        ValueError: for a message that is not for this client, or a folder that holds nothing of a run.
        Diverged: as of `Client.answer`.
    """
    with folder, reproducible(folder.settings.threads, training_device()):
        client = _client(folder)
        for name in (SUMMARY, NETWORK):  # of a run before this one
            (folder.path / name).unlink(missing_ok=True)
        round_ = Message.round_in(blob)
        known = [(done, path) for done, path in folder.states().items() if done <= round_]
        for _, path in known[-1:]:
            with reading(path, *DAMAGED):
                client.restore(_state(path))
        reply = client.answer(blob)
        folder.write(f"state-{round_ + 1:06d}.pt", saved(client.state()))
        kept = {path for _, path in known[-1:]} | {folder.path / f"state-{round_ + 1:06d}.pt"}
        for path in set(folder.states().values()) - kept:
            path.unlink()
        return reply


def finish(folder: DeviceFolder) -> dict[str, Any]:
    """What `Client.finish` says of the client after its last round; it is kept, and the network, too."""
    with folder, reproducible(folder.settings.threads, training_device()):
        client = _client(folder)
        for path in list(folder.states().values())[-1:]:
            with reading(path, *DAMAGED):
                client.restore(_state(path))
        found = client.finish(folder.table)
        folder.write(NETWORK, own_network.file_of(folder.run, folder.table, client.learner, client.train[0]))
        folder.write(SUMMARY, json.dumps(found, indent=1) + "\n")
        return found


def _state(path: Path) -> dict[str, Any]:
    check_zip(path.read_bytes())
    return dict(torch.load(path, weights_only=True, map_location=training_device()))


def _client(folder: DeviceFolder) -> Client:
    if not folder.started:
        raise Refused(f"{folder.path} has not been told of a run")
    own, run = folder.settings, folder.run
    preference = Preference(*preferences_of(own.preference)[0]) if own.preference else None
    return client_of(run, own.index, *_parts(folder, _dataset(_partition(own))), folder.table, preference)


def _parts(folder: DeviceFolder, dataset: Dataset) -> tuple[Part, Part]:
    own, run = folder.settings, folder.run
    if own.share:
        return parts_of(dataset, shares_of(run, dataset)[own.index])
    device = training_device()
    return (
        tensors(dataset.train_images, dataset.train_labels, device),
        tensors(dataset.test_images, dataset.test_labels, device),
    )


@cache
def _dataset(partition: PartitionConfig) -> Dataset:
    return dataset_of(partition)


def _partition(own: DeviceConfig) -> PartitionConfig:
    return PartitionConfig(data=own.data, data_folder=own.data_folder)


def _check_suits(dataset: Dataset, table: LatencyTable) -> None:
    image = tuple(map(int, dataset.train_images.shape[1:]))
    if dataset.classes != table.classes:
        raise Refused(f"the run has {table.classes} classes, and the client's images have {dataset.classes}")
    if image != tuple(table.image):
        raise Refused(f"the run's images are {_size(table.image)}, and the client's {_size(image)}")


def _size(image: tuple[int, ...]) -> str:
    return "x".join(map(str, image))
