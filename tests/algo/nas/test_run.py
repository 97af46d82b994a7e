"""`rlu nas`: from data to a network that keeps a latency; what stops it loses nothing, what is wrong is said."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from algo import cli
from algo.nas import derive, run
from algo.nas.config import USUAL_LATENCY, NasConfig
from algo.nas.folder import STATE, SUMMARY, TABLE, NasFolder
from algo.nas.latency_table import LatencyTable
from algo.nas.limits import Limits
from algo.nas.measured_table import details_here
from algo.nas.space import SPACES
from tests.algo.nas.tables import made_up
from tests.command_line import rlu

SETTINGS = {
    "data": "digits", "train-images": 300, "space": "tiny", "epochs": 3, "warmup": 1, "batch-size": 32,
    "score-images": 50, "tuning-epochs": 1, "quantised-epochs": 1, "statistics-batches": 2, "latency": "60%",
}  # fmt: skip
#: Everything that a search leaves, apart from how long it took.
RESULTS = ("choice.json", "config.json", "front.json", "network.json", "network.pt", "network.py", "table.json")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "table.json"
    made_up(SPACES["tiny"]).write(path)
    return path


def options(table, **more):
    given = SETTINGS | {"device": str(table)} | {name.replace("_", "-"): value for name, value in more.items()}
    if "mu" in more and "latency" not in more:
        del given["latency"]
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def finished(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("search") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["rlu"])
        cli.main(["nas", "search", *options(table), "--out", str(out)])
    return out


def timeless(out):
    """The summary without times."""
    summary = json.loads((out / SUMMARY).read_text())
    return {name: value for name, value in summary.items() if not name.endswith("_s")}


def learned(out):
    """Scores and probabilities, to the last digit."""
    scores = json.loads((out / "scores.json").read_text())
    return [scores[name] for name in ("scores", "theta", "phi")]


def weights(out):
    return torch.load(out / "network.pt", weights_only=True)["rounded"]


def test_the_network_keeps_the_latency(finished):
    folder = NasFolder.open(finished)
    summary, known = folder.summary, folder.table
    assert summary["limit_ms"] == pytest.approx(0.6 * known.ms(known.largest))
    assert summary["latency_ms"] <= summary["limit_ms"]
    architecture = known.space.checked(summary["architecture"])
    assert summary["latency_ms"] == known.ms(architecture)
    best = [one for one in folder.front if one["latency_ms"] <= summary["limit_ms"]][-1]
    assert best["architecture"] == summary["architecture"]
    assert summary["gap"] == pytest.approx(summary["mixed_accuracy"] - summary["discrete_accuracy"])
    described = json.loads((finished / "network.json").read_text())
    assert [(b["kernel"], b["expansion"], b["bits"]) for b in described["blocks"]] == [tuple(o) for o in architecture]
    assert 0.05 < summary["accuracy"] <= 1 and summary["size_bytes"] > 1000
    assert [epoch["epoch"] for epoch in folder.epochs] == [1, 2, 3]


def test_the_network_that_leaves_has_the_accuracy_of_the_summary(finished):
    from algo.nets.data.datasets import load_dataset

    dataset = load_dataset("digits")
    np.savez(finished.parent / "test.npz", images=dataset.test_images, labels=dataset.test_labels)
    program = (
        "import numpy, torch, network\n"
        "data = numpy.load('../test.npz')\n"
        "logits = network.load()(torch.from_numpy(data['images']))\n"
        "print(float((logits.argmax(1).numpy() == data['labels']).mean()))\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=finished, check=True, capture_output=True, text=True
    ).stdout
    assert float(printed) == pytest.approx(json.loads((finished / SUMMARY).read_text())["accuracy"])


def test_killed_anywhere_it_goes_on_to_the_same_network(finished, table, tmp_path, capsys):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "algo.cli", "nas", "search", *options(table), "--out", str(out)],
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (out / STATE).exists() and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (out / STATE).exists() and not (out / SUMMARY).exists()
    assert rlu(capsys, "nas", "search", "--resume", "--out", out)[0] == 0
    for name in RESULTS:
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name
    assert timeless(out) == timeless(finished)
    wanted = weights(finished)
    assert all(torch.equal(value, wanted[name]) for name, value in weights(out).items())
    assert learned(out) == learned(finished)


def test_a_lost_summary_is_made_again(finished, tmp_path, capsys):
    before = timeless(finished), weights(finished)
    (finished / SUMMARY).unlink()
    assert rlu(capsys, "nas", "search", "--resume", "--out", finished)[0] == 0
    assert timeless(finished) == before[0]
    assert all(torch.equal(value, before[1][name]) for name, value in weights(finished).items())


def test_another_latency_needs_no_search(finished, capsys):
    code, said, _ = rlu(capsys, "nas", "derive", finished, "--latency", "45%", "--json")
    found = json.loads(said)
    known = NasFolder.open(finished).table
    assert code == 0 and found["latency_ms"] <= 0.45 * known.ms(known.largest) + 1e-9
    assert not list(finished.glob("latency-*"))
    code, said, _ = rlu(capsys, "nas", "derive", finished, "--latency", "45%", "--train", "--json")
    trained = json.loads(said)
    assert trained["architecture"] == found["architecture"] and (Path(trained["folder"]) / "network.py").exists()
    assert timeless(Path(trained["folder"]))["accuracy"] == trained["accuracy"]


def test_a_size_is_kept_beside_the_latency(finished, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    largest = json.loads(rlu(capsys, "nas", "derive", folder, "--latency", "100%", "--json")[1])["size_bytes"]
    words = ["nas", "derive", folder, "--latency", "100%", "--size", "4KiB", "--train", "--json"]
    code, said, _ = rlu(capsys, *words)
    found = json.loads(said)
    assert code == 0 and found["size_bytes"] <= 4 * 1024 < largest
    assert rlu(capsys, "export", found["folder"], "-o", tmp_path / "net.onnx")[0] == 0
    assert json.loads(rlu(capsys, *words)[1])["accuracy"] == found["accuracy"]
    code, _, message = rlu(capsys, "nas", "derive", folder, "--latency", "90%", "--size", "1KiB")
    assert code == 2 and "with weights of at most 1 KiB: the smallest takes" in message


def test_a_search_keeps_a_size_and_what_is_derived_from_it_too(table, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["nas", "search", *options(table, latency="90%", size="4KiB"), "--out", out]
    code, said, _ = rlu(capsys, *arguments, "--json")
    summary = json.loads(said)
    assert code == 0 and summary["size_bytes"] <= summary["limit_bytes"] == 4 * 1024
    assert rlu(capsys, "nas", "search", "--resume", "--size", "4KiB", "--out", out)[0] == 0
    code, _, message = rlu(capsys, "nas", "search", "--resume", "--size", "5KiB", "--out", out)
    assert code == 2 and "was begun with size 4KiB, not 5KiB" in message
    assert json.loads(rlu(capsys, "nas", "derive", out, "--latency", "100%", "--json")[1])["limit_bytes"] == 4 * 1024
    assert (
        json.loads(rlu(capsys, "nas", "derive", out, "--size", "5KiB", "--json")[1])["limit_ms"] == summary["limit_ms"]
    )
    page = tmp_path / "page.html"
    assert rlu(capsys, "report", out, "-o", page)[0] == 0 and "of 4.0 KiB allowed" in page.read_text()


def test_a_size_alone_goes_with_the_usual_latency():
    assert NasConfig.of(size="4KiB").aim.latency == USUAL_LATENCY


@pytest.mark.parametrize("form", ["onnx", "qonnx"])
def test_the_network_is_exported(finished, tmp_path, capsys, form):
    code, said, _ = rlu(capsys, "export", finished, "--format", form, "-o", tmp_path / "net.onnx", "--json")
    agreed = json.loads(said)["network"]["agreement"]
    assert code == 0 and agreed["same_predictions"] + agreed["ties"] == agreed["images"] > 500
    assert agreed["accuracy"] == pytest.approx(json.loads((finished / SUMMARY).read_text())["accuracy"], abs=0.005)
    code, _, message = rlu(capsys, "export", finished, "--policy", "int8", "-o", tmp_path / "net.onnx")
    assert code == 2 and "a search has one network" in message


def test_a_network_of_an_earlier_version_is_named(finished, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    description = json.loads((out / "network.json").read_text())
    del description["roundings"]
    (out / "network.json").write_text(json.dumps(description))
    code, _, message = rlu(capsys, "export", out, "-o", tmp_path / "net.onnx")
    assert code == 2 and f"{out / 'network.json'}" in message and "an earlier version wrote it" in message
    for name in ("network.json", SUMMARY):  # as the message says
        (out / name).unlink()
    assert rlu(capsys, "nas", "search", "--resume", "--out", out)[0] == 0
    assert rlu(capsys, "export", out, "-o", tmp_path / "net.onnx")[0] == 0


def test_both_searches_chain(finished, tmp_path, capsys):
    """What was found is the network that the RL unit tunes: bits, voltage and frequency."""
    words = ["--data", "digits", "--network", f"{finished / 'network.py'}:network", "--iterations", "2"]
    words += ["--local-size", "60"]
    code, said, message = rlu(capsys, "tune", *words, "--out", tmp_path / "tuned", "--json")
    assert code == 0, message
    summary = json.loads(said)
    assert summary["iterations"] == 2 and len(summary["found"]["weight_bits"]) == 15


def test_the_report_shows_the_network_and_how_it_was_found(finished, tmp_path, capsys):
    page = tmp_path / "report.html"
    assert rlu(capsys, "report", finished, "-o", page)[0] == 0
    text = page.read_text()
    summary = json.loads((finished / SUMMARY).read_text())
    for (kernel, expansion, bits), block in zip(summary["architecture"], ("1.1", "2.1", "2.2", "3.1"), strict=True):
        assert f"block {block}: k{kernel} e{expansion} {bits} bits" in text
    assert f"{100 * summary['accuracy']:.1f} % of the test images of digits" in text
    assert text.count("<svg") == 6 and "http" not in text.replace("http-equiv", "")
    command = text.partition("<code>rlu nas search")[2].partition("</code>")[0]
    assert "--space tiny" in command and "--epochs 3" in command and "--latency 60%" in command
    first = page.read_bytes()
    rlu(capsys, "report", finished, "-o", page)
    assert page.read_bytes() == first
    code, _, message = rlu(capsys, "report", finished, "docs/results/published-run", "-o", page)
    assert code == 2 and "its page is of it alone" in message


def test_the_network_can_begin_with_the_weights_of_the_search(finished, table, tmp_path, capsys):
    found = []
    for name in ("one", "two"):
        arguments = ["nas", "search", *options(table, begin="search"), "--out", tmp_path / name, "--json"]
        assert rlu(capsys, *arguments)[0] == 0
        found.append(weights(tmp_path / name))
    ours = weights(finished)
    assert timeless(tmp_path / "one")["architecture"] == timeless(finished)["architecture"]
    assert all(torch.equal(found[0][name], found[1][name]) for name in ours)
    assert not torch.allclose(found[0]["stem.0.weight"], ours["stem.0.weight"], atol=0.05)


def test_mu_and_nu_take_the_most_probable(table, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["nas", "search", *options(table, mu=0.5, nu=0.5, epochs=2), "--out", out, "--json"]
    code, said, _ = rlu(capsys, *arguments)
    summary = json.loads(said)
    assert code == 0 and summary["limit_ms"] is None and summary["chosen"] == "most probable"
    assert summary["architecture"] == summary["published_choice"]["architecture"]


def test_profile_says_what_is_possible(table, capsys):
    known = LatencyTable.read(table)
    code, said, _ = rlu(capsys, "nas", "profile", "--space", "tiny", "--device", table, "--latency", "60%", "--json")
    facts = json.loads(said)
    assert code == 0 and facts["possible"] and facts["fastest_ms"] < facts["uniform_ms"] < facts["slowest_ms"]
    assert facts["limit_ms"] == pytest.approx(0.6 * known.ms(known.largest)) and facts["networks"] == 12**4
    code, said, _ = rlu(capsys, "nas", "profile", "--space", "tiny", "--device", table, "--latency", "0.001ms")
    assert code == 1 and "cannot be kept" in said and f"fastest {facts['fastest_ms']:.4g} ms" in said
    words = ["--space", "tiny", "--device", table, "--latency", "100%", "--size"]
    code, said, _ = rlu(capsys, "nas", "profile", *words, "100%")
    assert code == 0 and f"{facts['largest_8_bit_bytes'] / 1024:.4g} KiB can be kept" in said
    code, said, _ = rlu(capsys, "nas", "profile", *words, "1KiB")
    assert code == 1 and "a size of 1 KiB cannot be kept" in said
    assert facts["smallest_bytes"] > 1024 and f"weights of {facts['smallest_bytes'] / 1024:.4g} KiB at least" in said


def test_a_chip_makes_a_table(tmp_path, capsys):
    path = tmp_path / "evolver.json"
    words = ["--space", "tiny", "--bits", "2,4,8", "--device", "evolver", "--image", "3x32x32"]
    assert rlu(capsys, "nas", "latency-table", *words, "-o", path)[0] == 0
    known = LatencyTable.read(path)
    assert known.image == (3, 32, 32) and len(set(known.speeds)) == 3
    per_bits = known.blocks_ms.sum((0, 1))
    assert per_bits[0] < per_bits[1] < per_bits[2]
    assert (known.blocks_ms[:, 1] > known.blocks_ms[:, 0]).all()  # an expansion of 6 costs more than one of 3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"latency": "0.001ms"}, r"no network of space tiny is as fast as 0.001 ms on made-up: the fastest takes"),
        ({"latency": "fast"}, "a latency must be a number with its unit, such as 0.8ms or 60%, not 'fast'"),
        ({"mu": 0.5, "nu": 0.6}, "mu and nu must add up to 1, not 0.5 + 0.6 = 1.1"),
        ({"mu": 0.5, "nu": 0.5, "latency": "1ms"}, "exclude each other"),
        ({"space": "small"}, "the latency table is for the space tiny, not small"),
        ({"device": "missing.json"}, "missing.json: no such file"),
        ({"device": "evolver"}, "give the space others, such as --bits 2,4,8"),
        ({"device": "unknown"}, "unknown"),
        ({"data": "nothing"}, "unknown data set 'nothing'"),
        ({"train-images": 21}, "of the 21 images to train on, and each half needs one"),
        ({"size": "1KiB"}, "with weights of at most 1 KiB: the smallest takes"),
        ({"size": "50KB"}, "a size must be a number with its unit, such as 60KiB or 60%, not '50KB'"),
        ({"size": "nanKiB"}, "a size must be in 1e-09..1e+12 KiB or %, not 'nanKiB'"),
        ({"size": "50%", "mu": 0.5, "nu": 0.5}, "size 50% goes with a latency"),
        ({"epochs": 1}, "warmup must be below the 1 epochs"),
    ],
)
def test_bad_use_is_one_message_and_leaves_nothing(table, tmp_path, capsys, monkeypatch, more, said):
    monkeypatch.chdir(tmp_path)
    code, _, message = rlu(capsys, "nas", "search", *options(table, **more), "--out", "run")
    assert code == 2 and said in message and "Traceback" not in message
    assert not (tmp_path / "run" / "config.json").exists()


def test_other_images_are_refused(table, tmp_path, capsys):
    rng = np.random.default_rng(1)
    path = tmp_path / "mine.npz"
    np.savez(path, images=rng.integers(0, 256, (200, 20, 20), dtype=np.uint8), labels=np.arange(200) % 10)
    code, _, message = rlu(capsys, "nas", "search", *options(table, data=path), "--out", tmp_path / "run")
    assert code == 2 and "images of (channels, height, width) (1, 32, 32), not (1, 20, 20)" in message


def test_a_loss_that_is_no_number_names_the_last_good_state(table, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["nas", "search", *options(table, learning_rate=1e30), "--out", out]
    code, _, message = rlu(capsys, *arguments)
    assert code == 2 and "the loss of epoch 1 is" in message and "no epoch is done" in message
    assert not (out / "config.json").exists()


def test_a_folder_of_something_else_is_refused(finished, tmp_path, capsys):
    code, _, message = rlu(capsys, "nas", "derive", "docs/results/published-run", "--latency", "60%")
    assert code == 2 and "not a search of this version" in message
    code, _, message = rlu(capsys, "nas", "derive", tmp_path, "--latency", "60%")
    assert code == 2 and "holds no run" in message
    code, _, message = rlu(capsys, "nas", "search", "--out", finished, "--data", "digits")
    assert code == 2 and "is not empty: continue it with --resume" in message
    code, _, message = rlu(capsys, "nas", "search", "--resume", "--out", finished, "--latency", "70%")
    assert code == 2 and "was begun with latency 60%, not 70%" in message
    other = tmp_path / "other"
    other.mkdir()
    content = json.loads((finished / "config.json").read_text()) | {"format": "rlu nas search 1"}
    (other / "config.json").write_text(json.dumps(content))
    code, _, message = rlu(capsys, "nas", "search", "--resume", "--out", other)
    assert code == 2 and "format must be 'rlu nas search 2', not 'rlu nas search 1'" in message


def test_changed_data_and_a_damaged_state_are_refused(table, tmp_path, capsys):
    rng = np.random.default_rng(1)
    path, out = tmp_path / "mine.npz", tmp_path / "run"
    images = rng.integers(0, 256, (300, 32, 32), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(300) % 10)
    # Killed after the first epoch: simulated by taking away what follows it.
    assert rlu(capsys, "nas", "search", *options(table, data=path, epochs=2), "--out", out)[0] == 0
    for name in ("summary.json", "scores.json", "front.json"):
        (out / name).unlink()
    state = (out / STATE).read_bytes()
    (out / STATE).write_bytes(state[: len(state) // 2])
    code, _, message = rlu(capsys, "nas", "search", "--resume", "--out", out)
    assert code == 2 and f"{out / STATE} is damaged" in message
    (out / STATE).write_bytes(state)
    np.savez(path, images=255 - images, labels=np.arange(300) % 10)
    code, _, message = rlu(capsys, "nas", "search", "--resume", "--out", out)
    assert code == 2 and f"data {path} changed after the run" in message
    assert (out / TABLE).exists()


def test_on_this_machine_the_network_taken_is_measured(monkeypatch):
    """A network that turns out too slow is replaced by one that the table says is faster by as much."""
    known = made_up(SPACES["tiny"])
    measured = LatencyTable(
        "measured", known.origin, details_here(), known.space, known.image, known.classes, known.speeds,
        known.ends_ms, known.blocks_ms, known.switch_ms,
    )  # fmt: skip
    scores = measured.blocks_ms.reshape(4, -1)  # the slowest is best
    limit = 0.8 * known.ms(known.largest)

    def times(factor):
        def timed(networks, **_):
            return [factor * known.ms(network) for network in networks]

        monkeypatch.setattr("algo.nas.measured_table.measured_ms", timed)

    monkeypatch.setattr("algo.nas.onnx_blocks.network_model", lambda space, architecture, *_: architecture)
    times(0.9)  # a table made on busy cores
    found = run.kept(Limits(measured, limit), scores)
    assert 0.97 * limit < found["measured_ms"] <= limit < found["latency_ms"] <= limit / 0.9
    times(1.1)
    found = run.kept(Limits(measured, limit), scores)
    assert 0.9 * limit < found["measured_ms"] <= limit and found["latency_ms"] <= limit / 1.1
    elsewhere = dataclasses.replace(measured, details=details_here() | {"processor": "another"})
    assert run.kept(Limits(elsewhere, limit), scores)["latency_ms"] > limit / 1.1
    assert "measured_ms" not in run.kept(Limits(elsewhere, limit), scores)
    monkeypatch.setattr("algo.nas.measured_table.measured_ms", lambda *_, **__: [2 * limit])  # whatever is taken
    assert run.kept(Limits(measured, limit), scores)["measured_ms"] == 2 * limit


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", "{}"),
        ("summary.json", {"architecture": "x"}),
        ("summary.json", {"architecture": [[3, 3, 8]]}),
        ("summary.json", {"limit_ms": "x"}),
        ("summary.json", {"limit_bytes": "x"}),
        ("progress.jsonl", '{"epoch": 1}'),
        ("front.json", "{}"),
        ("front.json", '{"networks": []}'),
        ("front.json", '{"networks": [{"score": 1}]}'),
        ("table.json", "{}"),
    ],
)
def test_what_a_damaged_file_is_called_in_a_report(finished, tmp_path, capsys, name, content):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    if isinstance(content, dict):
        content = json.dumps(json.loads((out / name).read_text()) | content)
    (out / name).write_text(content)
    code, _, message = rlu(capsys, "report", out)
    assert code == 2 and f"{out / name}" in message and ("is damaged" in message or "cannot be used" in message)


@pytest.mark.parametrize("content", ["{}", '{"chosen": "", "architecture": [[3, 3, 8]], "latency_ms": 1}', "["])
def test_a_damaged_choice_is_named_when_a_search_goes_on(finished, tmp_path, capsys, content):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / SUMMARY).unlink()
    (out / "choice.json").write_text(content)
    code, _, message = rlu(capsys, "nas", "search", "--resume", "--out", out)
    assert code == 2 and f"{out / 'choice.json'} is damaged" in message and "remove it" in message


def test_training_needs_the_weights_of_the_search(finished, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / STATE).unlink()
    before = set(out.iterdir())
    code, _, message = rlu(capsys, "nas", "derive", out, "--latency", "55%", "--train")
    assert code == 2 and "whose weights judge the network first" in message and set(out.iterdir()) == before
    (out / SUMMARY).unlink()
    code, _, message = rlu(capsys, "nas", "search", "--resume", "--out", out)
    assert code == 2 or timeless(out) == timeless(finished)  # it may also search again, to the same end


def test_a_training_that_diverges_is_told(finished, tmp_path, capsys, table):
    code, _, message = rlu(capsys, "nas", "search", *options(table, tuning_rate=1e30), "--out", tmp_path / "run")
    assert code == 2 and "try a lower --tuning-rate" in message and "can be resumed" not in message
    assert not (tmp_path / "run" / SUMMARY).exists()


def test_the_latency_named_in_a_refusal_is_accepted(table, capsys):
    words = ["nas", "profile", "--space", "tiny", "--device", table, "--json"]
    _, said, _ = rlu(capsys, *words)
    least = json.loads(said)["fastest_ms"]
    assert float(derive.rounded_up(least)) >= least
    assert rlu(capsys, *words, "--latency", f"{derive.rounded_up(least)}ms")[0] == 0
    for ms in (0.0123456, 1.0, 9.9999, 123456.0, 0.001):
        assert ms <= float(derive.rounded_up(ms)) <= 1.001 * ms


def test_a_table_is_a_json_file(tmp_path, capsys):
    words = ["nas", "latency-table", "--space", "tiny", "--bits", "2,4,8", "--device", "evolver"]
    code, _, message = rlu(capsys, *words, "-o", tmp_path / "table.txt")
    assert code == 2 and "must end in .json" in message and not (tmp_path / "table.txt").exists()


def test_images_of_one_pixel_after_the_blocks_and_odd_halves_are_searched(tmp_path, capsys):
    """A single image that is left over has no statistics of a batch."""
    rng = np.random.default_rng(1)
    path = tmp_path / "mine.npz"
    np.savez(path, images=rng.integers(0, 256, (515 * 9 // 5, 1, 1), dtype=np.uint8), labels=rng.integers(0, 2, 927))
    words = ["--data", path, "--space", "tiny", "--bits", "2,4,8", "--device", "evolver", "--epochs", "1"]
    words += ["--warmup", "0", "--score-images", "251", "--tuning-epochs", "0", "--quantised-epochs", "1"]
    code, _, message = rlu(capsys, "nas", "search", *words, "--latency", "80%", "--out", tmp_path / "run")
    assert code == 0, message
