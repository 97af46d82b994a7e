"""`rlu tune` with networks by name or file, rows per block, and other methods, with real training."""

import json

import numpy as np
import pytest

from algo.report.load import load_runs
from tests.command_line import rlu

NET = """
from torch import nn

def make(classes, channels):
    return nn.Sequential(nn.Conv2d(channels, 4, 3, stride=2), nn.ReLU6(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                         nn.Linear(16, classes))
"""


FAILING = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.last = nn.Linear(64, classes)

    def forward(self, images):
        if len(images) > 2:
            raise IndexError("too many images")
        return self.last(images.flatten(1))

class NaN(Net):
    def forward(self, images):
        return self.last(images.flatten(1)) * float("nan")

class Frozen(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.Flatten(), nn.Linear(64, classes))
        self.requires_grad_(False)
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Net", "your network failed in forward (net.py, line 12): IndexError: too many images"),
        ("NaN", "the network's weights are not finite after pre-training: does it give NaN or infinity?"),
        ("Frozen", "the network cannot be trained: requires_grad is False for all its parameters"),
    ],
)
def test_a_network_that_fails_in_training_is_named(name, words, tmp_path, capsys):
    (tmp_path / "net.py").write_text(FAILING)
    images = np.random.default_rng(1).integers(0, 256, (60, 8, 8), np.uint8)
    np.savez(tmp_path / "few.npz", images=images, labels=np.arange(60) % 2)
    usual = ("--data", tmp_path / "few.npz", "--threads", "1", "--network", f"{tmp_path / 'net.py'}:{name}")
    code, _, said = rlu(capsys, "tune", *usual, "--iterations", "2", "--out", tmp_path / "run")
    assert code == 2 and words in said and not (tmp_path / "run").exists()


def test_tune_takes_networks_by_name_or_file_and_any_method(tmp_path, capsys):
    (tmp_path / "net.py").write_text(NET)
    rng, labels = np.random.default_rng(1), np.arange(120) % 2
    images = (rng.integers(0, 200, (120, 8, 8)) + 50 * labels[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "few.npz", images=images, labels=labels)
    usual = ["tune", "--data", tmp_path / "few.npz", "--iterations", "3", "--threads", "1", "--accuracy-drop", "0.9"]
    low = ["--latency-low", "0", "--energy-low", "0"]
    own = [*usual, *low, "--network", f"{tmp_path / 'net.py'}:make", "--method", "evolution", "--out", tmp_path / "own"]
    code, out, said = rlu(capsys, *own, "--json")
    assert code == 0, said
    summary = json.loads(out)
    assert len(summary["found"]["weight_bits"]) == 2 and summary["found"]["latency_ms"] < 0.1  # that of the own network
    blocks = [*usual, "--width", "1", "--rows", "block", "--out", tmp_path / "blocks"]
    code, out, said = rlu(capsys, *blocks, "--network", "mobilenetv2", "--json")
    assert code == 0, said
    assert len(json.loads(out)["found"]["weight_bits"]) == 17
    assert len((tmp_path / "blocks" / "trace.jsonl").read_text().splitlines()) == 3
    code, _, _ = rlu(capsys, "report", tmp_path / "own", tmp_path / "blocks", "-o", tmp_path / "both.html")
    assert code == 0 and "evolution" in (tmp_path / "both.html").read_text()
    (shown,) = load_runs([tmp_path / "blocks"])
    assert shown.chip.place_names == tuple(f"blocks.{number}" for number in range(17)) and shown.chip.known
    assert 0 < shown.savings.found.size_mb <= shown.savings.baseline.size_mb
    code, _, said = rlu(capsys, "export", tmp_path / "blocks", "-o", tmp_path / "blocks.onnx")
    assert code == 0, said
    (tmp_path / "net.py").write_text(NET.replace("4, 3", "4, 5"))
    (tmp_path / "own" / "summary.json").unlink()
    code, _, said = rlu(capsys, "tune", "--resume", "--out", tmp_path / "own")
    assert code == 2 and "net.py changed after the run" in said
    code, _, said = rlu(capsys, *usual, "--width", "1", "--rows", "block", "--out", tmp_path / "plain")
    assert code == 2 and "none of the layers is in a block" in said
