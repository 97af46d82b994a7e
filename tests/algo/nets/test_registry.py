"""Networks by name, and those of users' files: what works, and one clear sentence for what does not."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from algo.nets.data.datasets import Dataset
from algo.nets.quantisation import weight_layers
from algo.nets.registry import (
    DEFAULT_WIDTH,
    METAVAR,
    NETWORKS,
    NetworkBuilder,
    is_file_network,
    network_builder,
    published_width,
)
from algo.nets.train.pretraining import pretrain
from algo.nets.training_config import TrainingConfig
from algo.report.chip_part import chip_facts
from algo.runs.config import TuneConfig
from tests.places import ROOT

DIGITS = {"classes": 10, "channels": 1, "image_size": (8, 8)}
WELL = """
from torch import nn

def make(classes, channels, image_size):
    height, width = image_size
    return nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.Flatten(),
                         nn.Linear(4 * height * width, classes))
"""

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file and gives its name; what loading leaves behind is put back afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the same file is written twice within a second

    def made(text: str, name: str = "net.py") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return made


def loaded(build: NetworkBuilder) -> Any:
    """The module that a user's file was loaded as."""
    assert build.digest is not None
    return sys.modules[f"_rlu_network_{build.digest[:16]}"]


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_name_gives_the_network(name: str) -> None:
    kind = importlib.import_module(f"algo.nets.models.{name}").NETWORK
    build = network_builder(name)
    assert (build.title, build.takes_width, build.digest) == (kind.__name__, True, None)
    for width, wanted in ((None, DEFAULT_WIDTH), (2, 2)):
        torch.manual_seed(1)
        model = build(3, 2, (16, 8), width)
        assert type(model) is kind and weight_layers(model)[0][1].weight.shape[:2] == (wanted, 2)
        assert model.eval()(torch.zeros(2, 2, 16, 8)).shape == (2, 3)
        torch.manual_seed(1)
        direct = kind(classes=3, channels=2, width=wanted, image_size=(16, 8)).state_dict()
        assert all(torch.equal(value, direct[key]) for key, value in model.state_dict().items())


def test_every_name_stands_in_the_help_text_and_has_its_published_width() -> None:
    assert METAVAR.split("|") == [*NETWORKS, "FILE.py:FUNCTION"]
    for name in NETWORKS:
        with torch.device("meta"):
            model = network_builder(name)(10, 3, (32, 32), published_width(name))
        assert weight_layers(model)[0][1].weight.shape[0] == published_width(name)


def test_a_new_network_is_one_file(tmp_path: Path) -> None:
    """A file beside the others is a network with a name, for a chip and for a task, and stands in the help."""
    (tmp_path / "tiny.py").write_text(
        """
from torch import nn
PUBLISHED_WIDTH = 4
class NETWORK(nn.Sequential):
    def __init__(self, classes, channels, width, image_size):
        pixels = width * image_size[0] * image_size[1]
        super().__init__(nn.Conv2d(channels, width, 1), nn.Flatten(), nn.Linear(pixels, classes))
"""
    )
    script = f"""
import algo.nets.models
algo.nets.models.__path__.append({str(tmp_path)!r})
from click.testing import CliRunner
from algo.cli import rlu
from algo.runs.config import TuneConfig
from tests.places import ROOT
from algo.nets.train.task import Task
assert "|tiny|" in CliRunner().invoke(rlu, ["tune", "--help"]).output.replace(" ", "").replace("\\n", "")
made = CliRunner().invoke(rlu, ["chip", "table", "--network", "tiny", "--format", "csv", "--point", "3"])
assert made.exit_code == 0, made.output
print([line.split(",")[0] for line in made.output.splitlines()])
print([layer.macs for layer in Task.of(TuneConfig.of(network="tiny").task, 1).layers])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == [str([8 * 1 * 1024, 8 * 1024 * 10])], done.stdout


@pytest.mark.parametrize("name", ["vgg9", "", "VGG8", "net.txt:make", "vgg8:8x1x10", ":make", "net.onnx"])
def test_a_name_that_is_none_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(
        ValueError, match=f"unknown network '{name}': choose vgg8, mobilenetv2, resnet34, or FILE.py:FUNCTION"
    ):
        network_builder(name)
    assert not is_file_network(name)


# --- files -------------------------------------------------------------------------------------------------


def test_a_function_in_a_file_gives_the_network(write: Write) -> None:
    name = f"{write(WELL)}:make"
    build = network_builder(name)
    assert is_file_network(name) and not build.takes_width and build.title == "net.py:make"
    model = build(5, 3, (6, 4))
    assert model.eval()(torch.zeros(2, 3, 6, 4)).shape == (2, 5) and model.training is False
    assert build(5, 3, (6, 4)) is not model
    with pytest.raises(ValueError, match=r"net\.py:make takes no width: leave it out, or give"):
        build(5, 3, (6, 4), 8)


@pytest.mark.parametrize(
    ("signature", "passed"),
    [
        ("", set()),
        ("classes", {"classes"}),
        ("channels, *, classes=2", {"classes", "channels"}),
        ("image_size=(1, 1), depth=3", {"image_size"}),
        ("**sizes", {"classes", "channels", "image_size", "width"}),
        ("classes, width=4", {"classes", "width"}),
    ],
)
def test_it_is_told_what_its_signature_names(write: Write, signature: str, passed: set[str]) -> None:
    text = f"""
from torch import nn
told = []
def make({signature}):
    told.append({{**locals(), **locals().get("sizes", {{}})}})
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 10))
"""
    build = network_builder(f"{write(text)}:make")
    build(**DIGITS, width=7 if build.takes_width else None)
    (told,) = loaded(build).told
    for key, value in (DIGITS | {"width": 7}).items():
        assert (told.get(key) == value) == (key in passed)


def test_a_class_will_do_and_helpers_beside_the_file_are_found_last(write: Write, tmp_path: Path) -> None:
    write("hidden = 10", "helper_beside.py")
    (tmp_path / "algo").mkdir()
    write("raise RuntimeError('not ours')", "algo/__init__.py")
    text = """
from dataclasses import dataclass
from torch import nn
import algo.nets.layer_shapes
from helper_beside import hidden

@dataclass
class Sizes:
    classes: "int"

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear(64, Sizes(classes).classes)
    def forward(self, images):
        return self.fc(images.flatten(1))
"""
    before = list(sys.path)
    model = network_builder(f"{write(text)}:Net")(**DIGITS)
    assert type(model).__name__ == "Net" and sys.path == [*before, str(tmp_path)]
    assert "net" not in sys.modules


def test_lazy_layers_get_their_sizes_from_the_images(write: Write) -> None:
    text = "from torch import nn\ndef make(classes): return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))"
    model = network_builder(f"{write(text)}:make")(**DIGITS)
    assert weight_layers(model)[0][1].weight.shape == (10, 64)


def test_checking_a_network_leaves_random_numbers_as_they_are(write: Write) -> None:
    text = """import torch
from torch import nn
class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)
    def forward(self, images):
        return self.fc(images.flatten(1) + torch.rand(64))
"""
    build = network_builder(f"{write(text)}:Noisy")
    states = []
    for make in (loaded(build).Noisy, lambda: build(**DIGITS)):
        torch.manual_seed(1)
        make()
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


HEAD = "from torch import nn\nimport torch\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def make(:\n", r"net.py cannot be loaded: SyntaxError: .* \(net.py, line 1\)$"),
        (HEAD + "x = y\n", r"net.py cannot be loaded: NameError: name 'y' is not defined \(net.py, line 3\)$"),
        ("import no_such_package\n", r"ModuleNotFoundError: No module named 'no_such_package' \(net.py, line 1\)$"),
        ("import sys\nsys.exit(3)\n", r"net.py cannot be loaded: SystemExit: 3 \(net.py, line 2\)$"),
        (
            HEAD + "def other(): pass\ndef _own(): pass\nclass Net(nn.Module): pass\nfrom os.path import join\n",
            r"net.py has no function 'make': say .*net.py:FUNCTION; functions and networks in it: other, Net$",
        ),
        (HEAD, r"net.py has no function 'make': .* in it: none$"),
        (HEAD + "make = nn.Linear(64, 10)\n", "make of .*net.py is a Linear, not a function: write one that returns"),
        (HEAD + "make = 3\n", "make of .*net.py is a int, not a function"),
        ("def make(depth): pass\n", "net.py:make needs an argument 'depth': only classes, channels and image_size"),
        ("def make(classes, /): pass\n", "net.py:make needs an argument 'classes': .* by name"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_before_anything_runs(write: Write, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        network_builder(f"{write(text)}:make")
    assert "\n" not in str(caught.value)


def test_missing_files_and_functions_are_named(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.py is not there: a network of your own is FILE.py:FUNCTION"):
        network_builder(f"{tmp_path / 'nowhere.py'}:make")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(ValueError, match=r"folder\.py is a folder"):
        network_builder(f"{tmp_path / 'folder.py'}:make")
    path = write(WELL)
    for name in (path, f"{path}:"):
        with pytest.raises(ValueError, match=r"net\.py:? names no function: say .*net.py:FUNCTION; .* in it: make$"):
            network_builder(name)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "raise TypeError('too few')",
            r"net.py:make, called with nothing, failed: TypeError: too few \(net.py, line 4\)$",
        ),
        ("raise SystemExit", r"net.py:make, called with nothing, failed: SystemExit \(net.py, line 4\)$"),
        ("pass", "net.py:make returned a NoneType, not an nn.Module: is its last line return model"),
        ("return {}", "net.py:make returned a dict, not an nn.Module$"),
        (
            "return nn.Sequential(nn.Conv2d(3, 2, 3))",
            r"the network of net.py:make does not take images of 1 channels and 8x8 pixels: RuntimeError: .*to have 3 "
            r"channels, but got 1 channels instead; the function gets them if it takes channels and image_size$",
        ),
        (
            "return nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))",
            "does not take images of 1 channels and 8x8 pixels: RuntimeError: mat1 and mat2",
        ),
        (
            "return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))",
            r"gives an output of shape \(2, 7\) for 2 images, but the data have 10 classes: it must be "
            r"\(2, 10\); its function gets their number if it takes classes$",
        ),
        ("return nn.Sequential(nn.Linear(8, 10))", r"gives an output of shape \(2, 1, 8, 10\) for 2 images"),
        (
            "class Two(nn.Linear):\n        forward = lambda self, x: (x, x)\n    return Two(1, 1)",
            r"gives a tuple, not logits \(N, classes\)",
        ),
        ("return nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(10))", "has no Conv2d or Linear layer whose bit-wid"),
        (
            "class Own(nn.Linear):\n        def forward(self, x): return super().forward(x.flatten(1))\n"
            "    return Own(64, 10)",
            r"the network of net.py:make: layer '' \(Own\) cannot be quantised: its forward function",
        ),
    ],
)
def test_a_network_that_does_not_suit_the_data_says_why(write: Write, body: str, said: str) -> None:
    build = network_builder(f"{write(HEAD + f'def make():{chr(10)}    {body}{chr(10)}')}:make")
    with pytest.raises(ValueError, match=said) as caught:
        build(**DIGITS)
    assert "\n" not in str(caught.value)


def test_a_failure_inside_forward_names_its_line_and_only_what_the_function_lacks(write: Write) -> None:
    text = """from torch import nn
class Net(nn.Linear):
    def forward(self, images):
        return super().forward(images.view(-1, 5))
def make(channels):
    return Net(5, 10)
"""
    build = network_builder(f"{write(text)}:make")
    with pytest.raises(ValueError, match=r"invalid for input of size 128 \(net.py, line 4\); the function gets "
                                         r"them if it takes image_size$"):  # fmt: skip
        build(**DIGITS)


def test_the_same_network_twice_is_refused(write: Write) -> None:
    """It would be quantised and trained in place, and then taken for a new one."""
    build = network_builder(f"{write(WELL + 'one = make(10, 1, (8, 8))' + chr(10) + 'def same(): return one')}:same")
    build(**DIGITS)
    with pytest.raises(ValueError, match=r"net\.py:same returned the same network twice: make a new one in every call"):
        build(**DIGITS)


def test_another_forward_function_is_another_network_to_the_cache(write: Write, tmp_path: Path) -> None:
    """It shows neither in the structure nor in the first weights."""
    text = """from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 3)
    def forward(self, images):
        return self.fc(images.flatten(1))
"""
    random = np.random.default_rng(1)
    images = random.normal(size=(60, 1, 8, 8)).astype(np.float32)
    data = Dataset("noise", images[:30], np.arange(30) % 3, images[30:], np.arange(30) % 3, 3)
    recipe = TrainingConfig(pretrain_epochs=1, int8_epochs=1, threads=1)
    found = []
    for forward in ("images", "images", "images.relu()"):
        build = network_builder(f"{write(text.replace('(images.f', f'({forward}.f'))}:Net")
        made = pretrain(data, recipe, lambda build=build: build(3, 1, (8, 8)), 1, tmp_path / "cache")
        found.append((made.cached, made.key))
    assert [cached for cached, _ in found] == [False, True, False]
    assert found[0][1] == found[1][1] != found[2][1]


def test_a_report_does_not_run_the_file_of_a_network(write: Write, tmp_path: Path) -> None:
    """A run folder may come from somebody else."""
    marker = tmp_path / "ran"
    named = f"{write(f'open({str(marker)!r}, chr(119)).close()' + WELL)}:make"
    config = TuneConfig.of(chip_network=named)
    step: Any = SimpleNamespace(chosen={"weight_bits": (8,)}, voltage_v=0.8, frequency_mhz=232.0)
    assert "which chip" in chip_facts(tmp_path, config, [step]).words
    assert not marker.exists()
    network_builder(named)
    assert marker.exists()
