"""Batch normalisation folded away: the same outputs, the same levels, and what cannot be folded is left or named."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from algo.nets.folding import fold_batch_norm
from algo.nets.models.mobilenetv2 import MobileNetV2
from algo.nets.models.resnet34 import ResNet34
from algo.nets.models.vgg8 import VGG8
from algo.nets.quantisation import quantise, quantised_layers, set_bits, weight_levels


def normalised(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with statistics, scales and shifts as after training; scales of either sign."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.5, generator=generator)
            module.running_var.uniform_(0.2, 3, generator=generator)
            if module.affine:
                module.weight.data.uniform_(-1.5, 1.5, generator=generator)
                module.bias.data.normal_(0, 0.5, generator=generator)
    return model.eval()


def close(one: Tensor, other: Tensor) -> bool:
    """To 1e-4 of the largest output.

    Float32 resolves 6e-8; folding rounds every weight once more, and a few hundred products per sum in up to 36 layers
    add these up. A wrong factor or bias shows in the first digits.
    """
    one, other = one.detach(), other.detach()
    return float((one - other).abs().max()) <= 1e-4 * float(other.abs().max())


@pytest.mark.parametrize(("network", "pairs"), [(VGG8, 7), (ResNet34, 36), (MobileNetV2, 52)])
def test_a_folded_network_computes_the_same(network: type[nn.Module], pairs: int) -> None:
    torch.manual_seed(1)
    model = normalised(network(10, 1, 4))
    images = torch.randn(4, 1, 32, 32)
    wanted = model(images)
    assert len(fold_batch_norm(model, images)) == pairs
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in model.modules())
    assert close(model(images), wanted)
    assert close(model.train()(images), wanted)  # nothing normalises by the batch any more


@settings(max_examples=25)
@given(st.integers(0, 1000), st.booleans(), st.booleans(), st.sampled_from([1, 2]))
def test_biases_groups_and_plain_normalisation_fold_too(seed: int, bias: bool, affine: bool, groups: int) -> None:
    torch.manual_seed(seed)
    model = normalised(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, groups=groups, bias=bias),
            nn.BatchNorm2d(4, affine=affine),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, 5, bias=bias),
            nn.BatchNorm1d(5, affine=affine),
        ),
        seed,
    )
    images = torch.randn(3, 2, 4, 4)
    wanted = model(images)
    assert fold_batch_norm(model, images) == [("0", "1"), ("4", "5")]
    assert close(model(images), wanted)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_folded_quantised_network_has_the_same_levels(bits: int) -> None:
    torch.manual_seed(2)
    model = quantise(VGG8(10, 1, 2))
    model.train()(torch.randn(20, 1, 32, 32))  # sets the ranges
    normalised(model)
    folded = copy.deepcopy(model)
    images = torch.randn(20, 1, 32, 32)
    pairs = dict(fold_batch_norm(folded, images))
    norms = dict(model.named_modules())
    for (name, layer), (_, other) in zip(quantised_layers(model), quantised_layers(folded), strict=True):
        sign = torch.sign(norms[pairs[name]].weight) if name in pairs else torch.ones(len(layer.weight))
        signs = sign.view(-1, *[1] * (layer.weight.dim() - 1))
        assert torch.equal(weight_levels(other.weight, bits)[0], weight_levels(layer.weight, bits)[0] * signs), name
    for network in (model, folded):
        set_bits(network, (bits,) * 8, (8,) * 8)
    # Float rounding may carry an activation to the next of its 255 levels; a logit then moves by about a hundredth.
    wanted, found = model(images).detach(), folded(images).detach()
    assert float((found - wanted).abs().max()) < 0.05 * float(wanted.abs().max())
    assert float((found - wanted).abs().median()) < 1e-5 * float(wanted.abs().max())


class Twice(nn.Module):
    """A layer whose output is used twice, a layer used twice, and normalisations that do not follow a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.branch, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.again, self.norms = nn.Conv2d(2, 2, 1), nn.ModuleList([nn.BatchNorm2d(2), nn.BatchNorm2d(2)])
        self.first = nn.BatchNorm2d(1)
        self.rows, self.rows_norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.batch = nn.BatchNorm1d(4, track_running_stats=False)
        self.plain, self.last = nn.Linear(16, 3), nn.BatchNorm1d(3)

    def forward(self, images: Tensor) -> Tensor:
        some = self.branch(self.first(images))
        some = some + self.norm(some)
        for norm in self.norms:
            some = norm(self.again(some))
        rows = self.rows_norm(self.rows(some.mean(1)))  # (N, 4, 4): normalises the second dimension
        return self.last(self.plain(rows.flatten(1)))


def test_what_cannot_be_folded_stays() -> None:
    torch.manual_seed(3)
    model = normalised(Twice())
    images = torch.randn(5, 1, 4, 4)
    wanted = model(images)
    assert fold_batch_norm(model, images) == [("plain", "last")]
    assert close(model(images), wanted)


def test_nothing_to_fold_is_an_error() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2))
    with pytest.raises(ValueError, match="Sequential has no batch normalisation that alone and directly follows"):
        fold_batch_norm(model, torch.zeros(2, 1, 4, 4))


class Deciding(nn.Module):
    """Decides by the values it is given."""

    def forward(self, values: Tensor) -> Tensor:
        return values if values.sum() > 0 else -values


def test_a_model_the_tracer_cannot_follow_is_named_and_left_alone() -> None:
    inner = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), Deciding())
    model = nn.Sequential(nn.ReLU(), inner).train()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"cannot follow layer '1\.2' \(Deciding\).*@torch\.fx\.wrap"):
        fold_batch_norm(model, torch.zeros(2, 1, 4, 4))
    with pytest.raises(ValueError, match=r"cannot follow Deciding\.forward"):
        fold_batch_norm(Deciding(), torch.zeros(2, 1))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()) and model.training


def test_the_mode_of_every_layer_is_put_back() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout()).train()
    model[2].eval()
    fold_batch_norm(model, torch.zeros(2, 1, 4, 4))
    assert [module.training for module in model] == [True, True, False]
