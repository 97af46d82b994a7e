"""A network that `rlu nas search` found, in PyTorch alone; network.json and network.pt lie beside this file.

In Python, `load()` gives the network with the bits found. `rlu tune --network network.py:network` tunes it further.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parent


class Rounded(nn.Module):
    """Rounds what a layer is given to whole multiples of ``scale``, ``largest`` + 1 of them with 0 at ``zero``."""

    scale: Tensor
    zero: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.largest = 2**bits - 1
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("zero", torch.zeros((), dtype=torch.int32))

    def forward(self, values: Tensor) -> Tensor:
        """Any shape."""
        return torch.fake_quantize_per_tensor_affine(values, self.scale, self.zero, 0, self.largest)


class Block(nn.Module):
    """1x1 convolution to more channels, one within each channel, 1x1 convolution to fewer; see network.json."""

    def __init__(self, facts: dict[str, Any]) -> None:
        super().__init__()
        inputs, outputs, kernel, stride = (facts[name] for name in ("inputs", "outputs", "kernel", "stride"))
        between = inputs * facts["expansion"]
        self.layers = nn.Sequential(
            *normalised(inputs, between),
            *normalised(between, between, kernel, stride, between),
            *normalised(between, outputs)[:-1],
        )
        self.adds_input = stride == 1 and inputs == outputs
        self.given: nn.Module = nn.Identity()  # or a rounding, as is `made`
        self.made: nn.Module = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        images = self.given(images)
        made: Tensor = self.made(self.layers(images))
        return images + made if self.adds_input else made


class Found(nn.Module):
    """The whole network. Input: float32 (N, channels, height, width), normalised as in training. Output: logits."""

    def __init__(self, facts: dict[str, Any]) -> None:
        super().__init__()
        stem, head = facts["stem"], facts["head"]
        self.stem = nn.Sequential(*normalised(facts["channels"], stem["channels"], 3, stem["stride"]))
        self.blocks = nn.Sequential(*(Block(block) for block in facts["blocks"]))
        self.head = nn.Sequential(*normalised(facts["blocks"][-1]["outputs"], head["channels"]))
        self.features: nn.Module = nn.Identity()  # or a rounding, as is `means`
        self.means: nn.Module = nn.Identity()
        self.classifier = nn.Linear(head["channels"], facts["classes"])

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        features = self.features(self.head(self.blocks(self.stem(images))))
        logits: Tensor = self.classifier(self.means(features.mean((2, 3), keepdim=True)).flatten(1))
        return logits


def normalised(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution, batch normalisation, ReLU6."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU6()]


def facts() -> dict[str, Any]:
    """What network.json says."""
    found: dict[str, Any] = json.loads((FOLDER / "network.json").read_text())
    return found


def load() -> nn.Module:
    """The network with rounded weights, whose layers round what they are given; in evaluation mode."""
    known = facts()
    network = Found(known)
    for name, one in known["roundings"].items():
        owner, _, last = name.rpartition(".")
        setattr(network.get_submodule(owner), last, Rounded(one["activation_bits"]))
    for name, layer in list(network.named_modules()):
        if known["layers"].get(name, {}).get("rounds_input"):
            rounded = Rounded(known["layers"][name]["activation_bits"])
            layer.register_module("given", rounded)
            layer.register_forward_pre_hook(lambda _, given, rounded=rounded: (rounded(given[0]),))
    network.load_state_dict(torch.load(FOLDER / "network.pt", weights_only=True)["rounded"])
    return network.eval()


def network() -> nn.Module:
    """The network in float32, as trained, to be quantised by somebody else."""
    found = Found(facts())
    found.load_state_dict(torch.load(FOLDER / "network.pt", weights_only=True)["float"])
    return found
