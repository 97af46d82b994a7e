"""Over Flower: the same run as in one process; and server and clients apart, with TLS and keys, whatever stops them."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest
import torch

pytest.importorskip("flwr", reason="needs the packages of rlu-cosim[fed]")
pytest.importorskip("constriction", reason="needs the packages of rlu-cosim[fed]")

from algo import cli
from algo.fed.flower.processes import free_port
from algo.fed.folder import ROUNDS
from algo.fed.own_network import load
from algo.nas.space import SPACES
from tests.algo.nas.tables import made_up
from tests.command_line import rlu
from tests.places import ROOT

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
RUN = [
    "--space", "tiny", "--clients", "2", "--warmup", "1", "--tuning-epochs", "0", "--lda", "0.5", "--codec-bits", "4",
]  # fmt: skip
#: Seconds after which a test that waits has failed.
LONGEST_S = 150


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "table.json"
    made_up(SPACES["tiny"]).write(path)
    return path


@pytest.fixture
def begin():
    """Starts `rlu fed ...`; at the end nothing that it started is left."""
    begun = []

    def start(*words, log):
        with log.open("a") as file:
            command = [sys.executable, "-m", "algo.cli", "fed", *map(str, words)]
            process = subprocess.Popen(command, env=ENVIRONMENT, stdout=file, stderr=file)
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.terminate()
    for process in begun:
        process.wait(timeout=30)


def rounds(out):
    path = out / ROUNDS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def timeless(out):
    return [{name: value for name, value in one.items() if name != "seconds"} for one in rounds(out)]


def flower_processes(home):
    """Processes whose Flower home is in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FLWR_HOME", "").startswith(str(home)) and process.status() != "zombie":
                found.append(process.pid)
        except psutil.Error:
            pass
    return found


def test_over_flower_a_run_is_the_same_to_the_last_bit_and_leaves_no_process(table, tmp_path, capsys):
    options = [*RUN, "--data", "digits", "--train-images", "200", "--rounds", "2", "--device", table]
    assert rlu(capsys, "fed", "run", *options, "--out", tmp_path / "here")[0] == 0
    code, said, _ = rlu(capsys, "fed", "run", *options, "--transport", "flower", "--out", tmp_path / "there", "--json")
    assert code == 0 and timeless(tmp_path / "there") == timeless(tmp_path / "here")
    summary = json.loads(said)
    kept = json.loads((tmp_path / "here" / "summary.json").read_text())
    assert {**summary, "seconds": 0} == {**summary, **kept, "seconds": 0}
    for number in range(2):
        here, there = (
            load(tmp_path / place) for place in (f"here/networks/{number}.pt", f"there/clients/{number}/network.pt")
        )
        assert all(torch.equal(own, there.state_dict()[name]) for name, own in here.state_dict().items())
    messages = 2 * 2 * 2
    # Flower's own count has the greeting and the last question besides, and what it adds to a message.
    assert summary["bytes"] + 300 * messages < summary["flower_bytes"] < summary["bytes"] + 60_000
    assert not flower_processes(tmp_path)


class Deployment:
    """A server and clients as processes of their own, with TLS and keys, in a folder."""

    def __init__(self, folder, table, begin, rounds_, deadline_s=60):
        self.folder, self._begin, self.port = folder, begin, free_port()
        self.out, self.logs = folder / "server", {name: folder / f"{name}.log" for name in ("server", "0", "1", "2")}
        cli.main(["fed", "certificates", str(folder / "tls"), "--clients", "2"])
        self._always = ["--port", self.port, "--certificates", folder / "tls", "--out", self.out]
        self._settings = [*RUN, "--rounds", rounds_, "--deadline-s", deadline_s, "--device", table]

    def server(self, *more):
        return self._begin("server", *self._always, *(more or self._settings), log=self.logs["server"])

    def client(self, index, secrets="tls"):
        return self._begin(
            "client", "--server", f"127.0.0.1:{self.port}", "--index", index, "--data", "digits", "--share",
            "--certificates", self.folder / secrets, "--out", self.folder / f"client{index}", log=self.logs[str(index)],
        )  # fmt: skip

    def wait_for(self, condition):
        until = time.monotonic() + LONGEST_S
        while not condition(rounds(self.out)):
            assert time.monotonic() < until, self.said()
            time.sleep(0.2)

    def said(self):
        return "\n".join(log.read_text() for log in self.logs.values() if log.exists())


def test_server_and_clients_apart_with_tls(table, tmp_path, begin, capsys):
    """To the end of a run; its figures are in the server's folder, and clients stay for the next one."""
    both = Deployment(tmp_path, table, begin, rounds_=2)
    server, clients = both.server(), [both.client(0), both.client(1)]
    assert server.wait(timeout=LONGEST_S) == 0, both.said()
    summary = json.loads((both.out / "summary.json").read_text())
    assert [one["client"] for one in summary["clients"]] == [0, 1] and not any(
        one["refused"] for one in rounds(both.out)
    )
    assert "MB passed the SuperLink, as Flower counts" in both.said()
    assert all(client.poll() is None for client in clients)
    assert "with 2 clients updates are not fully compared with each other" in both.logs["server"].read_text()
    for number in range(2):
        own = json.loads((tmp_path / f"client{number}" / "summary.json").read_text())
        assert own == summary["clients"][number]
        load(tmp_path / f"client{number}" / "network.pt")
        log = both.logs[str(number)].read_text()
        assert "round 2 is done" in log and f"network is {tmp_path}/client{number}/network.pt" in log
    code, _, message = rlu(capsys, "report", tmp_path / "client0")
    assert code == 2 and "report the folder of rlu fed server" in message
    assert not flower_processes(both.out)


@pytest.mark.slow
def test_a_key_that_the_server_does_not_know_is_refused(table, tmp_path, begin):
    both = Deployment(tmp_path, table, begin, rounds_=40)
    cli.main(["fed", "certificates", str(tmp_path / "other"), "--clients", "3"])
    (tmp_path / "other" / "ca.crt").write_bytes((tmp_path / "tls" / "ca.crt").read_bytes())
    (tmp_path / "other" / "server.crt").unlink()
    both.server()
    both.client(0), both.client(1)
    both.wait_for(lambda known: len(known) >= 1)
    stranger = both.client(2, "other")
    both.wait_for(lambda known: "the server does not know the client's key" in both.logs["2"].read_text())
    assert stranger.poll() is None and "it begins again in 10 s" in both.logs["2"].read_text()
    assert stranger.wait(timeout=LONGEST_S) == 1
    assert both.logs["2"].read_text().count("the server does not know the client's key") == 4


@pytest.mark.slow
def test_whatever_stops_them_they_go_on(table, tmp_path, begin):
    both = Deployment(tmp_path, table, begin, rounds_=60, deadline_s=25)
    server, clients = both.server(), [both.client(0), both.client(1)]
    both.wait_for(lambda known: len(known) >= 2)
    assert not any(one["refused"] for one in rounds(both.out))

    # While a client is away, rounds end at their deadline; it comes back from its folder.
    clients[1].kill()
    clients[1].wait()
    both.wait_for(lambda known: "1" in known[-1]["refused"])
    late = next(one for one in rounds(both.out) if "1" in one["refused"])
    assert late["seconds"] < 25 + 5 and "0" not in late["refused"]
    before = len(rounds(both.out))
    both.client(1)
    both.wait_for(lambda known: any(not one["refused"] for one in known[before:]))

    # What runs a client's messages is killed: the client starts it again.
    executors = [one for one in psutil.Process(clients[0].pid).children() if "executor" in " ".join(one.cmdline())]
    assert len(executors) == 1
    executors[0].kill()
    before = len(rounds(both.out))
    both.wait_for(lambda known: any(not one["refused"] for one in known[before + 1 :]))
    assert clients[0].poll() is None

    # A server that is killed goes on from the last round that is done.
    server.kill()
    server.wait()
    both.wait_for(lambda known: not flower_processes(both.out))
    done = timeless(both.out)
    both.server("--resume", "--deadline-s", 25)
    both.wait_for(lambda known: any(not one["refused"] for one in known[len(done) :]))
    assert timeless(both.out)[: len(done)] == done


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["server", "--space", "tiny", "--port", "1"], "a server has no images, so give it a table"),
        (["client", "--server", "nowhere", "--data", "digits"], "--server must be HOST:PORT"),
        (["client", "--server", "a:99999", "--data", "digits"], "with a port in 1..65535"),
        (["server", "--space", "tiny", "--wait-s", "nan"], "--wait-s must be a number of seconds from 0, not nan"),
        (["client", "--server", "a:1", "--data", "digits", "--preference", "1/1/1"], "add up to 1"),
        (["client", "--server", "a:1", "--data", "nothing"], "unknown data set 'nothing'"),
        (["client", "--server", "a:1", "--data", "digits", "--certificates", "none"], "ca.crt is missing"),
        (["server", "--space", "tiny", "--certificates", "none"], "ca.crt is missing"),
    ],
)
def test_bad_use_is_one_message(tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    code, _, message = rlu(capsys, "fed", *words, "--out", tmp_path / "out")
    assert code == 2 and said in message and "Traceback" not in message
    assert not (tmp_path / "out").exists()


def test_a_port_in_use_is_said(table, tmp_path, capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, message = rlu(
            capsys, "fed", "server", "--space", "tiny", "--device", table, "--port", port, "--out", tmp_path / "out"
        )
    assert code == 2 and f"cannot listen on 127.0.0.1:{port}" in message and not (tmp_path / "out").exists()
