"""`rlu fed run`: from data to a network for every client; what stops it loses nothing, what is wrong is said."""

import html
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from algo import cli
from algo.fed.folder import ROUNDS, STATE, SUMMARY, FedFolder
from algo.nas.space import SPACES
from tests.algo.nas.tables import made_up
from tests.command_line import rlu
from tests.places import ROOT

pytest.importorskip("constriction", reason="needs the packages of rlu-cosim[fed]")

from algo.fed.own_network import load
from algo.fed.run import dataset_of, shares_of
from algo.nas.batch_norm import recalibrate

SETTINGS = {
    "data": "digits", "train-images": 300, "space": "tiny", "clients": 3, "rounds": 4, "warmup": 1, "lda": 0.5,
    "tuning-epochs": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "table.json"
    made_up(SPACES["tiny"]).write(path)
    return path


def options(table, **more):
    given = SETTINGS | {"device": str(table)} | {name.replace("_", "-"): value for name, value in more.items()}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def finished(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    cli.main(["fed", "run", *options(table), "--out", str(out)])
    return out


@pytest.fixture
def out(finished, tmp_path):
    """A copy of the finished run, to do harm to."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def timeless(out):
    """Summary and rounds without times."""
    summary = json.loads((out / SUMMARY).read_text())
    rounds = [json.loads(line) for line in (out / ROUNDS).read_text().splitlines()]
    return [{name: value for name, value in one.items() if name != "seconds"} for one in [summary, *rounds]]


def test_every_byte_is_counted_and_every_client_has_a_network(finished):
    summary, *rounds = timeless(finished)
    assert len(rounds) == summary["rounds"] == 4 and len(summary["clients"]) == 3
    assert summary["bytes"] == sum(sum(one["pulled_bytes"]) + sum(one["pushed_bytes"]) for one in rounds) > 0
    assert all(len(one["options"]) == 4 and one["images"] >= 20 for one in summary["clients"])
    assert sum(one["images"] for one in summary["clients"]) == 300


def test_the_same_seed_gives_the_same_run_and_another_another(finished, table, tmp_path, capsys):
    assert rlu(capsys, "fed", "run", *options(table), "--out", tmp_path / "same")[0] == 0
    assert timeless(tmp_path / "same") == timeless(finished)
    assert rlu(capsys, "fed", "run", *options(table, seed=2), "--out", tmp_path / "other")[0] == 0
    assert timeless(tmp_path / "other") != timeless(finished)


def test_killed_anywhere_it_goes_on_to_the_same(finished, table, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "algo.cli", "fed", "run", *options(table), "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / STATE).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    assert (out / STATE).exists() and not (out / SUMMARY).exists()
    again = [*command[:5], "--resume", "--out", str(out)]
    assert subprocess.run(again, env=environment, capture_output=True, check=False).returncode == 0
    assert timeless(out) == timeless(finished)


@pytest.mark.parametrize("method", ["fedavg", "fednas"])
@pytest.mark.parametrize("codec", ["float32", "chapter"])
def test_peers_run_on_the_same_path(finished, table, tmp_path, capsys, method, codec):
    arguments = options(table, method=method, codec=codec, rounds=2)
    code, said, _ = rlu(capsys, "fed", "run", *arguments, "--out", tmp_path / "run", "--json")
    assert code == 0 and json.loads(said)["bytes"] > json.loads((finished / SUMMARY).read_text())["bytes"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"preferences": "0.5/0.2/0.2"}, "alpha, beta and gamma must be in 0..1 and add up to 1, not 0.5 + 0.2 + 0.2"),
        ({"preferences": "1.5/-0.5/0"}, "alpha, beta and gamma must be in 0..1 and add up to 1, not 1.5 + -0.5 + 0"),
        ({"preferences": "1"}, "a preference is alpha/beta/gamma, such as 0.8/0.1/0.1"),
        ({"clients": 200}, "are too few for 200 clients"),
        ({"bits": "2,4,8"}, "the latency table is for another space of the name tiny"),
        ({"data": "nothing"}, "unknown data set 'nothing'"),
        ({"codec-bits": 0}, "codec_bits must be above 0"),
        ({"batch-size": 10**22}, "batch_size must be"),
        ({"reach": 1e300}, "reach must be"),
    ],
)
def test_bad_use_is_one_message_and_leaves_nothing(table, tmp_path, capsys, more, said):
    code, _, message = rlu(capsys, "fed", "run", *options(table, **more), "--out", tmp_path / "run")
    assert code == 2 and said in message and "Traceback" not in message
    assert not (tmp_path / "run" / "config.json").exists()


def test_other_settings_are_refused_when_a_run_is_resumed(finished, capsys):
    code, _, message = rlu(capsys, "fed", "run", "--resume", "--out", finished, "--rounds", "9")
    assert code == 2 and "was begun with rounds 4, not 9" in message


def test_every_client_has_its_network_in_a_file(finished):
    """It predicts on the client's images as the tuned network does, which saw them in batches."""
    folder = FedFolder.open(finished)
    dataset = dataset_of(folder.settings.partition)
    for one, share in zip(folder.summary["clients"], shares_of(folder.settings, dataset), strict=True):
        network = load(finished / "networks" / f"{one['client']}.pt")
        assert [None if own is None else list(own) for own in network.options()] == one["options"]
        images, labels = torch.from_numpy(dataset.test_images[share.test]), dataset.test_labels[share.test]
        logits = network(images)
        alone = torch.cat([network(image[None]) for image in images[:5]])
        assert torch.allclose(alone, logits[:5], atol=1e-4) and not network.training
        accuracy = float((logits.argmax(1).numpy() == labels).mean())
        assert accuracy == pytest.approx(one["tuned_accuracy"], abs=0.25)
        kept = {name: value.clone() for name, value in network.named_buffers() if "running" in name}
        recalibrate(network, [torch.from_numpy(dataset.train_images[share.train])])
        assert all(torch.allclose(kept[name], dict(network.named_buffers())[name], atol=1e-3) for name in kept)


@pytest.mark.parametrize("content", [b"", b"what", "other"])
def test_a_network_that_cannot_be_used_is_said(tmp_path, content):
    path = tmp_path / "0.pt"
    if content == "other":
        torch.save({"format": "rlu fed network 0", "run": "{}", "table": "{}", "network": {}}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be used"):
        load(path)


@pytest.mark.parametrize("left", [None, "", "{}", 2])
def test_rounds_that_are_lost_are_made_again_from_the_state(out, finished, tmp_path, capsys, left):
    if left is None:
        (out / ROUNDS).unlink()
    else:
        lines = (out / ROUNDS).read_text().splitlines(keepends=True)
        (out / ROUNDS).write_text("".join(lines[:left]) if isinstance(left, int) else left)
    code, _, message = rlu(capsys, "report", out, "-o", tmp_path / "page.html")
    assert code == 2 and f"rlu fed run --resume --out {out}" in message and "Traceback" not in message
    assert rlu(capsys, "fed", "run", "--resume", "--out", out)[0] == 0
    assert timeless(out) == timeless(finished)


def test_killed_between_state_and_rounds_it_ends_with_all_rounds(out, finished, capsys):
    (out / SUMMARY).unlink()
    (out / ROUNDS).write_text("".join((out / ROUNDS).read_text().splitlines(keepends=True)[:-1]))
    assert rlu(capsys, "fed", "run", "--resume", "--out", out)[0] == 0
    assert timeless(out) == timeless(finished)


def test_a_state_with_one_wrong_bit_is_refused(out, capsys):
    (out / SUMMARY).unlink()
    content = bytearray((out / STATE).read_bytes())
    content[len(content) // 2] ^= 1
    (out / STATE).write_bytes(content)
    code, _, message = rlu(capsys, "fed", "run", "--resume", "--out", out)
    assert code == 2 and "state.pt is damaged" in message and "begin again with another --out" in message


def test_a_summary_that_cannot_be_is_refused(out, tmp_path, capsys):
    summary = json.loads((out / SUMMARY).read_text())
    summary["clients"][0]["options"] = [[1]]
    (out / SUMMARY).write_text(json.dumps(summary))
    for words in (("report", out, "-o", tmp_path / "page.html"), ("fed", "run", "--resume", "--out", out)):
        code, _, message = rlu(capsys, *words)
        assert code == 2 and "summary.json is damaged: options of a client must be" in message


def test_a_run_without_any_network_is_a_failure(out, capsys):
    summary = json.loads((out / SUMMARY).read_text())
    (out / SUMMARY).write_text(json.dumps(summary | {"clients": [], "missing": {"0": "it is not connected"}}))
    code, _, message = rlu(capsys, "fed", "run", "--resume", "--out", out)
    assert code == 1 and "no client has a network" in message


def test_a_damaged_configuration_is_named_by_the_report(out, tmp_path, capsys):
    (out / "config.json").write_text("{")
    code, _, message = rlu(capsys, "report", out, "-o", tmp_path / "page.html")
    assert code == 2 and "config.json is damaged" in message


def test_the_layout_is_of_the_run(finished):
    known = json.loads((finished / "layout.json").read_text())
    assert known["blocks"] == 4 and len(known["digest"]) == 16 and len(known["options"]) == 12
    assert sum(stop - start for cut in known["slices"] for start, stop in cut["places"]) == sum(
        math.prod(shape) for shape in known["tensors"].values()
    )


def test_the_space_is_that_of_the_table(finished, table, tmp_path, capsys):
    without = options(table)
    place = without.index("--space")
    del without[place : place + 2]
    assert rlu(capsys, "fed", "run", *without, "--out", tmp_path / "run")[0] == 0
    assert timeless(tmp_path / "run") == timeless(finished)


@pytest.mark.parametrize(("begun", "now"), [("process", "flower"), ("flower", "process")])
def test_a_run_goes_on_with_clients_of_the_same_kind(out, capsys, begun, now):
    (out / SUMMARY).unlink()
    if begun == "flower":
        (out / "clients").mkdir()
    code, _, message = rlu(capsys, "fed", "run", "--resume", "--transport", now, "--out", out)
    assert code == 2 and f"was begun with --transport {begun}, not {now}" in message


def test_the_report_shows_bytes_and_every_network(finished, tmp_path, capsys):
    page = tmp_path / "page.html"
    code, said, _ = rlu(capsys, "report", finished, "-o", page, "--json")
    summary, text = json.loads((finished / SUMMARY).read_text()), page.read_text()
    assert code == 0 and json.loads(said)["federation"] == summary
    assert "Accuracy over bytes" in text and "Every reply counts." in text
    for one in summary["clients"]:
        assert f"The network of client {one['client']}" in text and f">{100 * one['accuracy']:.1f}<" in text
    counted = [int(number) for number in re.findall(r"<td>(\d+)</td><td>[\d.]+ %</td>", text)]
    assert len(counted) == 4 and sum(counted) == summary["bytes"] and counted[-1] == 0
    command = html.unescape(re.search(r"<code>(rlu fed run .*?)</code>", text).group(1))
    assert "--clients 3" in command and "--least-images" not in command


def test_the_report_of_a_federation_is_of_it_alone(finished, tmp_path, capsys):
    code, _, message = rlu(capsys, "report", finished, "docs/results/published-run", "-o", tmp_path / "page.html")
    assert code == 2 and "is a federated run: its page is of it alone" in message
