"""Flower's processes: started on a free port, and ended with everything that they have started."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

#: What keeps Flower from reporting its use, from asking for updates, and from installing packages by itself.
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
#: Seconds that processes have to end by themselves.
_GRACE_S = 5.0
#: Seconds that a SuperLink has to listen.
_START_S = 60.0
_CONNECTION = "own"
#: This machine, for what is between its own processes.
_OWN = "127.0.0.1"
_PR_SET_PDEATHSIG = 1
#: What Flower prints before the reason of its end.
_EXIT = "Exit Code"


class FlowerError(ValueError):
    """Flower's processes cannot be used as asked; the message says why and what to do."""


@dataclass(frozen=True)
class Secrets:
    """Files for TLS and node keys.

    Attributes:
        ca: certificate of the authority that signed the server's.
        certificate, key: the server's; ``None`` at a client.
        node_key: private key of a client; ``None`` at the server.
    """

    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    node_key: Path | None = None


def environment(home: Path) -> dict[str, str]:
    """Of Flower's processes: its own home folder, and nothing that it does by itself."""
    own = str(Path(sys.executable).parent)
    return os.environ | QUIET | {"FLWR_HOME": str(home), "PATH": os.pathsep.join([own, os.environ.get("PATH", "")])}


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])


def check_port(host: str, port: int) -> None:
    """Raise FlowerError if a port is in use, or an address is not this machine's."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            raise FlowerError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --port, or end what listens there"
            ) from None


@contextlib.contextmanager
def started(command: Sequence[str | Path], log: Path, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Flower's, until the end of the block; then it and all that it has started are ended.

    Args:
        command: name of a program in this Python's folder, and its arguments.
        log: what it prints is appended to this file.
        home: Flower's home folder.
    """
    home.mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).parent / command[0]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [program, *map(str, command[1:])], env=environment(home), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,  # Ctrl-C is ours to pass on
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )  # fmt: skip
    try:
        yield process
    finally:
        end(process)


def _end_with_parent() -> None:
    """In a new process: it gets SIGTERM when the one that started it ends, even by SIGKILL (prctl of Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        own = psutil.Process(process.pid)
        found = [own, *own.children(recursive=True)]
    for one in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.terminate()
    _, left = psutil.wait_procs(found, timeout=_GRACE_S)
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left, timeout=_GRACE_S)
    process.poll()


def why_ended(log: Path, count: int = 5) -> str:
    """What a process of Flower's said about its end, for a message; else the end of its log."""
    text = log.read_text(errors="replace") if log.exists() else ""
    said = text[text.rfind(_EXIT) :].partition("For more information")[0] if _EXIT in text else ""
    if "[code: 2004]" in said:
        return "the server does not know the client's key: copy its .pub there, and start the server again"
    return said.strip() or "\n".join(text.splitlines()[-count:])


class SuperLink:
    """A SuperLink of ours.

    Args:
        home: Flower's home folder, for this one alone.
        host, port: where it listens.
        secrets: of TLS; ``None`` for none, on this machine.
    """

    def __init__(self, home: Path, host: str, port: int, secrets: Secrets | None) -> None:
        self.home, self.host, self.port, self.secrets = home, host, port, secrets
        self.log = home / "superlink.log"

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """It listens until the end of the block.

        Raises:
            FlowerError: if it ends at once, with what it said.
        """
        check_port(self.host, self.port)
        self.home.mkdir(parents=True, exist_ok=True)
        lines = [f'[superlink]\ndefault = "{_CONNECTION}"\n\n[superlink.{_CONNECTION}]']
        lines.append(f'address = "{self._reached}:{self.port}"')
        lines.append(
            "insecure = true" if self.secrets is None else f'root-certificates = "{self.secrets.ca.resolve()}"'
        )
        (self.home / "config.toml").write_text("\n".join(lines) + "\n")
        arguments: list[str | Path] = ["--host", self.host, "--port", str(self.port)]
        if self.secrets is None:
            arguments.append("--insecure")
        else:
            assert self.secrets.certificate is not None and self.secrets.key is not None
            arguments += [
                "--ssl-ca-certfile", self.secrets.ca, "--ssl-certfile", self.secrets.certificate,
                "--ssl-keyfile", self.secrets.key, "--enable-supernode-auth",
            ]  # fmt: skip
        command = ["flower-superlink", *arguments, "--disable-runtime-dependency-installation"]
        with started(command, self.log, self.home) as process:
            until = time.monotonic() + _START_S
            while not self._listens():
                if process.poll() is not None or time.monotonic() > until:
                    raise FlowerError(f"the SuperLink does not listen; the end of {self.log}:\n{why_ended(self.log)}")
                time.sleep(0.1)
            yield process

    @property
    def _reached(self) -> str:
        """How this machine reaches it."""
        return "127.0.0.1" if self.host in ("0.0.0.0", "::", "localhost") else self.host

    def _listens(self) -> bool:
        with socket.socket() as tried:
            tried.settimeout(1.0)
            return tried.connect_ex((self._reached, self.port)) == 0

    def register(self, public_key: Path) -> None:
        """Let a client with this key in."""
        self._flwr("supernode", "register", str(public_key), _CONNECTION)

    def submit(self, folder: Path, wait_s: float) -> str:
        """Begin a run of our apps; its number.

        Args:
            folder: of the run, on this machine.
            wait_s: seconds to wait for all clients.
        """
        app = self.home / "app"
        app.mkdir(exist_ok=True)
        (app / "pyproject.toml").write_text(_APP.format(folder=json.dumps(str(folder.resolve())), wait_s=wait_s))
        return str(self._flwr("run", str(app), _CONNECTION)["run-id"])

    def run(self, number: str) -> dict[str, Any]:
        """What Flower says of a run: its status, and the bytes that passed the SuperLink."""
        runs = self._flwr("list", _CONNECTION)["runs"]
        return dict(next(one for one in runs if one["run-id"] == number))

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        program = Path(sys.executable).parent / "flwr"
        done = subprocess.run(
            [program, *arguments, "--format", "json"], env=environment(self.home), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        start = done.stdout.find("{")
        try:
            said: dict[str, Any] = json.loads(done.stdout[start:])
        except ValueError:
            said = {}
        if not said.get("success"):
            raise FlowerError(
                f"flwr {' '.join(arguments)} failed: {said.get('error-message') or done.stderr[-500:] or done.stdout}"
            )
        return said


_APP = """[project]
name = "rlu-fed"
version = "1.0.0"
description = "rlu-cosim: server and clients of a federated run"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "rlu-cosim"

[tool.flwr.app.components]
serverapp = "algo.fed.flower.apps:server"
clientapp = "algo.fed.flower.apps:client"

[tool.flwr.app.config]
folder = {folder}
wait-s = {wait_s}
"""


def supernode(address: str, port: int, folder: Path, secrets: Secrets | None) -> list[str | Path]:
    """The command of a client's SuperNode.

    Args:
        address: host and port of the SuperLink.
        port: of this machine, where `executor` asks for messages.
        folder: of the client.
        secrets: of TLS and its node key; ``None`` for none, on this machine.
    """
    command: list[str | Path] = ["flower-supernode", "--superlink", address, "--isolation", "process"]
    command += ["--host", _OWN, "--port", str(port), "--node-config", f"folder={json.dumps(str(folder.resolve()))}"]
    if secrets is None:
        return [*command, "--insecure"]
    assert secrets.node_key is not None
    return [*command, "--root-certificates", secrets.ca, "--auth-supernode-private-key", secrets.node_key]


def executor(port: int, folder: Path) -> list[str | Path]:
    """The command of what runs the messages of the SuperNode at a port of this machine, for the client in a folder."""
    return [Path(sys.executable).name, "-m", "algo.fed.flower.executor", f"{_OWN}:{port}", folder.resolve()]


def traffic_of(run: Mapping[str, Any]) -> int:
    """Bytes of a run that passed the SuperLink, both ways, as Flower counts."""
    return int(run["network-traffic"]["total-bytes"])
