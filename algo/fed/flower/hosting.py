"""A server and its clients as processes of Flower's: what `rlu fed server`, `client` and `run --transport` do."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from algo.fed.config import DeviceConfig, FedConfig
from algo.fed.federation import Round
from algo.fed.flower.apps import FAILED, SAID
from algo.fed.flower.device import DeviceFolder
from algo.fed.flower.processes import (
    FlowerError,
    Secrets,
    SuperLink,
    executor,
    free_port,
    started,
    supernode,
    traffic_of,
    why_ended,
)
from algo.fed.folder import CLIENTS, SUMMARY, FedFolder
from algo.fed.run import dataset_of, mend_rounds, shares_of
from algo.nas.run import table_in
from algo.support.held_folder import RunFolderError
from algo.support.user_files import check_object, parse_json, reading

#: Seconds between two looks at a run.
_LOOK_S = 0.5
#: Seconds between two questions to Flower, each of which starts a program.
_ASK_S = 5.0
#: Folder of Flower's home and logs in a run's, and in a client's.
HOME = "flower"


@dataclass(frozen=True)
class Place:
    """Where a server listens.

    Attributes:
        host, port: of this machine.
        secrets: of TLS; ``None`` for none.
        keys: public keys of clients that may come, with TLS.
        wait_s: seconds to wait for all clients before the first round.
    """

    host: str
    port: int
    secrets: Secrets | None = None
    keys: Sequence[Path] = ()
    wait_s: float = 600.0


def serve(
    folder: FedFolder, place: Place, say: Callable[[str], None], on_round: Callable[[Round], None]
) -> dict[str, Any]:
    """Host a run until it is finished; whatever stops it, it goes on from the last round that is done.

    Args:
        folder: of the run, with its latency table, not held.
        place: where.
        say: is told what a user should know.
        on_round: is told of every round.

    Returns:
        The summary, with ``flower_bytes``: what passed the SuperLink, as Flower counts; 0 if it had ended before.

    Raises:
        FlowerError: if the run ends early, with the reason.
    """
    for name in (FAILED, SAID):
        (folder.path / name).unlink(missing_ok=True)
    if folder.summary is None:
        link = SuperLink(folder.path / HOME, place.host, place.port, place.secrets)
        with link.running() as process:
            for key in place.keys:
                link.register(key)
            number = link.submit(folder.path, place.wait_s)
            _follow(folder, link, process, number, say, on_round)
            traffic = traffic_of(link.run(number))
            folder.write(TRAFFIC, json.dumps({"flower_bytes": traffic}) + "\n")
    done = folder.summary
    assert done is not None, "_follow waits for it"
    mend_rounds(folder, done)
    path = folder.path / TRAFFIC
    if not path.exists():
        return {**done, "flower_bytes": 0}
    with reading(path, "{} is damaged", "remove it: it has nothing but Flower's count of bytes", RunFolderError):
        return {**done, **check_object(parse_json(path.read_bytes()), {"flower_bytes": int}, "what it holds")}


#: The file with Flower's count of bytes.
TRAFFIC = "traffic.json"


def _follow(
    folder: FedFolder,
    link: SuperLink,
    process: subprocess.Popen[bytes],
    number: str,
    say: Callable[[str], None],
    on_round: Callable[[Round], None],
) -> None:
    """Show the rounds of a run as they are done, until it is finished."""
    wanted = folder.settings.rounds.rounds
    shown, said, asked = 0, 0, time.monotonic()
    with tqdm(total=wanted, unit="round", disable=None, file=sys.stderr) as bar:
        while True:
            ended = None
            if time.monotonic() - asked > _ASK_S:
                ended, asked = _ended(link, number), time.monotonic()
            for record in folder.rounds[shown:]:
                refused = {int(client): why for client, why in record["refused"].items()}
                on_round(Round(**{**record, "refused": refused}))
                shown += 1
                bar.update(shown - bar.n)
            path = folder.path / SAID
            for line in path.read_text().splitlines()[said:] if path.exists() else []:
                say(line)
                said += 1
            if (folder.path / SUMMARY).exists():
                return
            why = folder.path / FAILED
            if why.exists():
                raise FlowerError(f"the run ended early: {why.read_text().strip()}")
            if process.poll() is not None or ended:
                raise FlowerError(
                    f"the run ended early ({ended or 'no SuperLink'}); the end of {link.log}:\n{why_ended(link.log)}"
                )
            time.sleep(_LOOK_S)


def _ended(link: SuperLink, number: str) -> str | None:
    """How Flower says that a run ended; ``None`` while it goes on."""
    status = str(link.run(number)["status"])
    return status if status.startswith("finished") else None


@contextlib.contextmanager
def connected(folder: DeviceFolder, address: str, secrets: Secrets | None) -> Iterator[Callable[[], bool]]:
    """A client's processes, until the end of the block; gives a function that says whether they still run."""
    home, log, port = folder.path / HOME, log_of(folder), free_port()
    home.mkdir(parents=True, exist_ok=True)
    with (
        started(supernode(address, port, folder.path, secrets), log, home) as node,
        started(executor(port, folder.path), log, home) as worker,
    ):
        yield lambda: node.poll() is None and worker.poll() is None


def log_of(folder: DeviceFolder) -> Path:
    """The log of a client's processes."""
    return folder.path / HOME / "supernode.log"


def run_on_loopback(
    config: FedConfig, folder: FedFolder, say: Callable[[str], None], on_round: Callable[[Round], None]
) -> dict[str, Any]:
    """A run whose clients are processes of this machine, which share a data set; as `algo.fed.run.run`.

    Args:
        config: of the run.
        folder: held, or not.
        say, on_round: as of `serve`.
    """
    with folder:
        dataset = dataset_of(config.partition)
        folder.check_input("data", f"data {config.partition.data}", dataset.digest(), say)
        shares_of(config, dataset)
        table_in(folder, config.space, dataset)
    place = Place("127.0.0.1", free_port())
    with contextlib.ExitStack() as stack:
        for number in range(config.partition.clients) if folder.summary is None else ():
            own = DeviceConfig(
                index=number, data=config.partition.data, data_folder=config.partition.data_folder, share=True,
                threads=config.threads,
            )  # fmt: skip
            path = folder.path / CLIENTS / str(number)
            if not folder.started and path.exists():
                shutil.rmtree(path)
            device = DeviceFolder.open(path) if path.exists() else DeviceFolder.create(path, own.to_json())
            device.release()
            stack.enter_context(connected(device, f"{place.host}:{place.port}", None))
        return serve(folder, place, say, on_round)
