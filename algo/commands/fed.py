"""Commands about FAQS: one search over many clients that keep their images."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from algo.commands.common import CheckFailed, differences, given_of, json_option, options_of
from algo.fed.config import DeviceConfig, FedConfig, PartitionConfig
from algo.nas.config import located

if TYPE_CHECKING:
    from algo.fed.flower.device import DeviceFolder
    from algo.fed.flower.processes import Secrets
    from algo.fed.folder import FedFolder


@click.group("fed")
def fed() -> None:
    """Train and search over clients that keep their images, and count the bytes (FAQS)."""


_OUT = click.Path(path_type=Path)
_SECRETS = click.option(
    "--certificates",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of rlu fed certificates; without it nothing is encrypted, and nobody is kept out.",
)
#: How often a client is begun that ends at once, and the pause between, s.
_TRIES, _PAUSE_S = 4, 10.0
#: Seconds between two looks at a client's folder.
_LOOK_S = 0.5
#: Clients that are needed to compare each with the others in every way.
_COMPARED = 4
#: Settings of the images, which a server has none of.
_OF_IMAGES = ("data", "data_folder")


@fed.command("run")
@options_of(FedConfig)
@click.option(
    "--transport",
    type=click.Choice(["process", "flower"]),
    default="process",
    show_default=True,
    help="Clients in this process, or one process each, with messages over Flower on this machine.",
)
@click.option(
    "--out", type=_OUT, help="Folder of the run; default: one in runs/ that data, method, codec and seed name."
)
@click.option("--resume", is_flag=True, help="Resume the run in --out, or begin it if there is none.")
@json_option
@click.pass_context
def _run(
    context: click.Context, /, transport: str, out: Path | None, resume: bool, as_json: bool, **settings: Any
) -> None:
    """Simulate server and clients on this machine, round by round; every message's bytes are counted."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = _space_of_table(given_of(context, settings))
    config = located(FedConfig.of(**given))
    out = out or Path("runs") / "-".join(
        ["fed", Path(config.partition.data).stem, config.method.method, config.messages.codec, f"seed{config.seed}"]
    )
    config, folder = _begun(config, given, out, resume)
    _check_transport(folder, transport)

    def begin() -> dict[str, Any]:
        if transport == "flower":
            from algo.fed.flower.hosting import run_on_loopback

            return run_on_loopback(config, folder, _say, _say_round)
        from algo.fed.run import run

        return run(config, folder, _say, _say_round)

    _report(_resumable(begin, f"rlu fed run --resume --transport {transport} --out {out}", out), out, as_json)


@fed.command("server")
@options_of(FedConfig, without=_OF_IMAGES)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65_535), default=9092, show_default=True, help="Port to listen on.")
@_SECRETS
@click.option(
    "--wait-s", type=float, default=600.0, show_default=True, help="Seconds to wait for all clients before round 1."
)
@click.option("--out", type=_OUT, default=Path("runs/fed-server"), show_default=True, help="Folder of the run.")
@click.option("--resume", is_flag=True, help="Resume the run in --out, or begin it if there is none.")
@json_option
@click.pass_context
def _server(
    context: click.Context,
    /,
    host: str,
    port: int,
    certificates: Path | None,
    wait_s: float,
    out: Path,
    resume: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Host a run for clients elsewhere; --device is a latency table, which says space, images and classes."""
    if not 0 <= wait_s < float("inf"):
        raise click.UsageError(f"--wait-s must be a number of seconds from 0, not {wait_s:g}")
    given = _space_of_table(given_of(context, settings))
    config = located(FedConfig.of(**given))
    from algo.fed.flower.hosting import Place, serve
    from algo.fed.flower.processes import check_port
    from algo.nas.config import space_of
    from algo.nas.folder import TABLE
    from algo.nas.latency_table import LatencyTable

    secrets: Secrets | None = None
    keys: list[Path] = []
    if certificates is not None:
        from algo.fed.flower.certificates import of_server

        secrets, keys = of_server(certificates)
    check_port(host, port)
    if not config.space.device.endswith(".json") and not (resume and (out / TABLE).exists()):
        raise click.UsageError(
            f"--device {config.space.device}: a server has no images, so give it a table: rlu nas latency-table"
        )
    config, folder = _begun(config, given, out, resume)
    with folder:
        if not (out / TABLE).exists():
            space = space_of(config.space)
            table = LatencyTable.read(Path(config.space.device)).narrowed(space.bits)
            table.check_suits(space, table.image, table.classes)
            folder.write(TABLE, json.dumps(table.to_json(), indent=1) + "\n")
    place = Place(host, port, secrets, keys, wait_s)
    _say(f"listening on {host}:{port}{'' if secrets else ', without encryption'}; clients: rlu fed client --server ...")
    if config.partition.clients < _COMPARED:
        _say(
            f"with {config.partition.clients} clients updates are not fully compared with each other: one that is "
            f"wrong or hostile may count; {_COMPARED} or more are"
        )
    again = f"rlu fed server --resume --out {out}"
    _report(_resumable(lambda: serve(folder, place, _say, _say_round), again, out), out, as_json)


@fed.command("client")
@click.option("--server", required=True, metavar="HOST:PORT", help="Where rlu fed server listens.")
@options_of(DeviceConfig)
@_SECRETS
@click.option("--out", type=_OUT, help="Folder of the client; default runs/fed-client-INDEX.")
@click.pass_context
def _client(
    context: click.Context, /, server: str, certificates: Path | None, out: Path | None, **settings: Any
) -> None:
    """Take part in a run with this machine's images, which stay here; until Ctrl-C."""
    given = given_of(context, settings)
    from algo.fed.flower.device import DeviceFolder
    from algo.fed.flower.hosting import connected, log_of
    from algo.fed.flower.processes import why_ended
    from algo.fed.run import dataset_of
    from algo.support.held_folder import CONFIG, RunFolderError

    own = DeviceConfig.of(**{**given, **_absolute(given)})
    host, _, port = server.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise click.UsageError(
            f"--server must be HOST:PORT with a port in 1..65535, such as 192.168.0.2:9092, not {server!r}"
        )
    secrets = None
    if certificates is not None:
        from algo.fed.flower.certificates import check_host, check_server, of_client

        check_host(certificates, host)
        secrets = of_client(certificates, own.index)
        check_server(secrets, host, int(port))
    out = out or Path(f"runs/fed-client-{own.index}")
    if (out / CONFIG).exists():
        folder = DeviceFolder.open(out)
        if changed := differences(folder.settings, own, given):
            raise RunFolderError(f"{out} is of a client with {', '.join(changed)}: choose another --out")
    else:
        dataset_of(PartitionConfig(data=own.data, data_folder=own.data_folder))
        folder = DeviceFolder.create(out, own.to_json())
        folder.release()
    _say(f"client {own.index} looks for {server}{'' if secrets else ', without encryption'}; Ctrl-C ends it")
    try:
        ends_at_once = 0
        while ends_at_once < _TRIES:
            begun = time.monotonic()
            with connected(folder, server, secrets) as running:
                _watch(folder, running)
            ends_at_once = ends_at_once + 1 if time.monotonic() - begun < _PAUSE_S else 1
            if ends_at_once < _TRIES:  # the server may be about to know its key
                _say(f"the client ended: {why_ended(log_of(folder))}; it begins again in {_PAUSE_S:g} s")
                time.sleep(_PAUSE_S)
        click.echo(f"the client ended: {why_ended(log_of(folder))} (log: {log_of(folder)})", err=True)
        raise CheckFailed
    except KeyboardInterrupt:
        click.echo(f"interrupted; go on with the same command: what the client knows is in {out}", err=True)
        raise click.Abort from None


@fed.command("certificates")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--host", "hosts", multiple=True, help="Name or address by which clients reach the server; repeatable.")
@click.option("--clients", type=click.IntRange(1, 65_536), default=8, show_default=True, help="Keys to make.")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="Days that they hold.")
def _certificates(folder: Path, hosts: tuple[str, ...], clients: int, days: int) -> None:
    """Make certificates for TLS and a key for every client, for a federation of your own."""
    from algo.fed.flower.certificates import make

    files = make(folder, hosts, clients, days)
    click.echo(f"{len(files)} files in {folder}")
    click.echo(
        "server: ca.crt, server.crt, server.key, client-*.pub\n"
        "client N: ca.crt, client-N.key\n"
        "ca.key signs nothing any more: remove it, or keep it where nobody finds it"
    )


def _begun(config: FedConfig, given: dict[str, Any], out: Path, resume: bool) -> tuple[FedConfig, FedFolder]:
    """The folder of a run, and its configuration: the folder's own if it is resumed."""
    from algo.fed.folder import FedFolder
    from algo.support.held_folder import RunFolderError, content

    if not (resume and content(out)):
        return config, FedFolder.create(out, config.to_json())
    folder = FedFolder.open(out)
    kept = folder.settings
    if changed := differences(kept, config, given):
        raise RunFolderError(
            f"{out} was begun with {', '.join(changed)}: leave the options out, or begin a new run with another --out"
        )
    return kept, folder


def _space_of_table(given: dict[str, Any]) -> dict[str, Any]:
    """The same settings, with the space of the latency table unless another is asked for."""
    from algo.nas.space import SPACES

    device = str(given.get("device", ""))
    if "space" in given or not device.endswith(".json") or not Path(device).exists():
        return given
    from algo.nas.latency_table import LatencyTable

    name = LatencyTable.read(Path(device)).space.name
    return given | {"space": name} if name in SPACES else given


def _check_transport(folder: FedFolder, transport: str) -> None:
    """Refuse to go on with clients of another kind than the run was begun with."""
    from algo.fed.folder import CLIENTS

    over_flower = (folder.path / CLIENTS).is_dir()
    if folder.started and folder.summary is None and over_flower != (transport == "flower"):
        begun, now = ("flower", "process") if over_flower else ("process", "flower")
        raise click.UsageError(f"{folder.path} was begun with --transport {begun}, not {now}: resume it with that")


def _watch(folder: DeviceFolder, running: Callable[[], bool]) -> None:
    """Say what a client does, until its processes no longer run."""
    from algo.fed.flower.device import NETWORK, SUMMARY

    said = max(folder.states(), default=0)
    finished = (folder.path / SUMMARY).exists()
    while running():
        done = max(folder.states(), default=0)
        if done != said:
            _say(f"round {done} is done")
            said = done
        if finished != (folder.path / SUMMARY).exists():
            finished = not finished
            if finished:
                _say(f"the run is finished; this client's network is {folder.path / NETWORK}; Ctrl-C ends the client")
        time.sleep(_LOOK_S)


def _resumable(begin: Callable[[], dict[str, Any]], again: str, out: Path) -> dict[str, Any]:
    """What a run comes to; if it is stopped, how it goes on is said."""
    from algo.support.held_folder import CONFIG

    try:
        return begin()
    except KeyboardInterrupt:
        click.echo(f"interrupted; resume: {again}", err=True)
        raise click.Abort from None
    except OSError:
        if (out / CONFIG).exists():
            click.echo(f"the run can be resumed: {again}", err=True)
        raise


def _report(summary: dict[str, Any], out: Path, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"folder": str(out), **summary}))
    else:
        _show(summary, out)
    if not summary["clients"]:
        click.echo("rlu: no client has a network: none replied after the last round", err=True)
        raise CheckFailed


def _show(summary: dict[str, Any], out: Path) -> None:
    for one in summary["clients"]:
        words = " ".join("skip" if option is None else "k{}e{}/{}".format(*option) for option in one["options"])
        click.echo(
            f"client {one['client']}: {one['images']} images, accuracy {one['accuracy']:.3f}, after its own training "
            f"{one['tuned_accuracy']:.3f} {words}".rstrip()
        )
    for client, why in summary["missing"].items():
        click.echo(f"client {client}: {why}")
    click.echo(
        f"mean accuracy {summary['accuracy']:.3f}, {summary['tuned_accuracy']:.3f} after their own training; "
        f"{summary['bytes'] / 1e6:.3f} MB in {summary['rounds']} rounds"
    )
    if summary.get("flower_bytes"):
        click.echo(f"{summary['flower_bytes'] / 1e6:.3f} MB passed the SuperLink, as Flower counts")
    click.echo(f"\nrun folder: {out}")


def _absolute(given: Mapping[str, Any]) -> dict[str, Any]:
    """Files among a client's settings, wherever its processes are started."""
    return {
        name: str(Path(given[name]).resolve())
        for name in ("data", "data_folder", "device")
        if given.get(name) and Path(given[name]).exists()
    }


def _say(text: str) -> None:
    click.echo(text, err=True)


def _say_round(record: Any) -> None:
    """A line a round, on standard error if that is a terminal."""
    if sys.stderr.isatty():
        click.echo(
            f"round {record.round}: accuracy {record.accuracy:.3f} ({record.global_accuracy:.3f} as sent), "
            f"{sum(record.pulled_bytes) / 1e3:.1f} kB pulled, {sum(record.pushed_bytes) / 1e3:.1f} kB pushed, "
            f"{sum(record.held) / len(record.held):.0%} held, {record.seconds:.0f} s",
            err=True,
        )
    for client, why in record.refused.items():
        click.echo(f"round {record.round}: the reply of client {client} does not count: {why}", err=True)
