"""Operations that change tensors in place: exported and folded as PyTorch computes them, or refused by name."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

from algo.export.onnx_check import run_onnx, run_qonnx
from algo.export.onnx_export import FORMATS, Format, export
from algo.nets.folding import fold_batch_norm
from algo.nets.quantisation import quantise
from algo.nets.tracing import trace
from sim.devices.shadow import Disagreement

IMAGES = torch.randn(40, 1, 6, 6, generator=torch.Generator().manual_seed(0))
Forward = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """Layers, and a forward function that is given."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.act, self.fc = nn.ReLU(inplace=True), nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.kept = torch.zeros(1, 4, 1, 1)
        self.function = forward

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self, images)


def head(net: Net, values: Tensor) -> Tensor:
    return net.fc(values.mean((2, 3)))


def pre_activation(net: Net, images: Tensor) -> Tensor:
    """The usual block: the shortcut is the tensor that the ReLU changed."""
    h = net.first(images)
    return head(net, net.second(net.act(h)) + h)


def statement(net: Net, images: Tensor) -> Tensor:
    h = net.first(images)
    functional.relu(h, inplace=True)
    return head(net, h)


def layer_as_statement(net: Net, images: Tensor) -> Tensor:
    h = net.first(images)
    net.act(h)
    return head(net, h)


def added_as_statement(net: Net, images: Tensor) -> Tensor:
    h = net.first(images)
    h.add_(net.second(torch.relu(h)))
    return head(net, h)


def second_name(net: Net, images: Tensor) -> Tensor:
    h = net.first(images)
    k = h
    k += net.second(h)
    return head(net, h)


def twice(net: Net, images: Tensor) -> Tensor:
    h = net.first(images)
    k = net.second(h)
    h += k
    k.relu_()
    k += h
    return head(net, h + k)


def of_the_images(net: Net, images: Tensor) -> Tensor:
    images.relu_()
    return head(net, net.first(images) + images)


def through_data(net: Net, images: Tensor) -> Tensor:
    h = net.first(images)
    h.data.relu_()
    return head(net, h)


def view_alone(net: Net, images: Tensor) -> Tensor:
    values = net.first(images).mean((2, 3), keepdim=True).flatten(1)
    return net.fc(values.relu_())


def without_effect(net: Net, images: Tensor) -> Tensor:
    h = net.first(images)
    values = h.mean((2, 3))
    h.mul_(2)
    return net.fc(values)


RIGHT = (pre_activation, statement, layer_as_statement, added_as_statement, second_name, twice, of_the_images,
         view_alone, without_effect)  # fmt: skip


def view_used_afterwards(net: Net, images: Tensor) -> Tensor:
    h = net.first(images).mean((2, 3), keepdim=True)
    values = h.flatten(1)
    h.relu_()
    return net.fc(values)


def changed_through_view(net: Net, images: Tensor) -> Tensor:
    h = net.first(images)
    h.flatten(2).relu_()
    return head(net, h)


def changed_in_part(net: Net, images: Tensor) -> Tensor:
    h = net.first(images)
    h[:, 0].zero_()
    return head(net, h)


def assigned_in_part(net: Net, images: Tensor) -> Tensor:
    h = net.first(images)
    h[:, 0] = 0
    return head(net, h)


def piece(net: Net, images: Tensor) -> Tensor:
    h = net.first(images)
    one, _ = h.chunk(2, 1)
    one.relu_()
    return head(net, h)


def unknown(net: Net, images: Tensor) -> Tensor:
    h = net.first(images)
    h.mul_(2)
    return head(net, h)


def into(net: Net, images: Tensor) -> Tensor:
    h, k = net.first(images), net.second(net.first(images))
    torch.add(h, k, out=k)
    return head(net, k)


def counted(net: Net, images: Tensor) -> Tensor:
    net.calls += 1
    return head(net, net.first(images))


def replaced(net: Net, images: Tensor) -> Tensor:
    net.calls = net.calls + 1
    return head(net, net.first(images))


def averaged(net: Net, images: Tensor) -> Tensor:
    net.calls.lerp_(images.mean(), 0.1)
    return head(net, net.first(images))


def remembered(net: Net, images: Tensor) -> Tensor:
    net.kept += net.first(images).mean((0, 2, 3), keepdim=True)
    return head(net, net.first(images))


def clipped(net: Net, images: Tensor) -> Tensor:
    net.first.weight.data.clamp_(-0.1, 0.1)
    return head(net, net.first(images))


@torch.fx.wrap
def helper(values: Tensor) -> None:
    values.relu_()


def wrapped(net: Net, images: Tensor) -> Tensor:
    h = net.first(images)
    helper(h)
    return head(net, h)


REFUSED = {
    view_used_afterwards: "'relu_' changes in place what the operation 'flatten' made, and layer 'fc' .* uses it",
    changed_through_view: r"'relu_' changes in place what layer 'first' \(QuantisedConv2d\) made",
    changed_in_part: "'zero_' changes in place what layer 'first'",
    assigned_in_part: "'setitem' changes in place what layer 'first'",
    piece: "'relu_' changes in place what layer 'first'",
    unknown: "the operation 'mul_' cannot be exported",
    through_data: "the operation 'getattr_1' cannot be exported",
    into: "the operation 'add' cannot be exported: only plain sums can, not one with out",
    counted: "forward function of Net changes its own 'calls'",
    replaced: "forward function of Net changes its own 'calls'",
    averaged: "forward function of Net changes its own 'calls'",
    remembered: "forward function of Net changes its own 'kept'",
    clipped: "forward function of Net changes its own 'first.weight'",
    wrapped: "the operation 'helper' changes in place what layer 'first'",
}


def ready(forward: Forward) -> nn.Module:
    torch.manual_seed(0)
    net = quantise(Net(forward)).train()
    with torch.no_grad():
        net(IMAGES.clone())
    return net.eval()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("forward", RIGHT, ids=lambda forward: forward.__name__)
def test_what_is_changed_in_place_is_exported_as_it_is_computed(forward: Forward, form: Format) -> None:
    net, given = ready(forward), IMAGES[:2].clone()
    model = export(net, given, form)
    assert torch.equal(given, IMAGES[:2])
    wanted = net(IMAGES.clone()).detach()
    found = torch.from_numpy((run_qonnx if form == "qonnx" else run_onnx)(model, IMAGES.numpy()))
    # Up to one image in ten may have a sum in the middle between two levels.
    differing = ((found - wanted).abs().amax(1) > 1e-5 * wanted.abs().max()).sum()
    assert differing <= 4 and wanted.std(0).min() > 0.01


@pytest.mark.parametrize("forward", REFUSED, ids=lambda forward: forward.__name__)
def test_what_cannot_be_followed_is_refused_by_name(forward: Forward) -> None:
    net = ready(forward)
    for mode in (True, False):
        with pytest.raises(ValueError, match=REFUSED[forward]):
            export(net.train(mode), IMAGES[:2])


class Foldable(nn.Module):
    """A convolution, a normalisation, and whatever lies between and beside them."""

    def __init__(self, forward: Callable[[Foldable, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3)
        self.norm, self.plain = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.function = forward

    def forward(self, images: Tensor) -> Tensor:
        # The second pair can be folded in all of them.
        return self.function(self, images) + self.plain(self.second(images))


def changed_before(net: Foldable, images: Tensor) -> Tensor:
    h = net.first(images)
    h.relu_()
    return net.norm(h)


def changed_by_a_layer(net: Foldable, images: Tensor) -> Tensor:
    h = net.first(images)
    net.act(h)
    return net.norm(h)


def changed_after(net: Foldable, images: Tensor) -> Tensor:
    """Folded, the normalisation would give the very tensor that is changed."""
    h = net.first(images)
    made = net.norm(h)
    h.mul_(2)
    return made


def part_changed(net: Foldable, images: Tensor) -> Tensor:
    h = net.first(images)
    h[:, 0] = 0
    return net.norm(h)


def norm_twice(net: Foldable, images: Tensor) -> Tensor:
    return net.norm(net.norm(net.first(images)))


def layer_twice(net: Foldable, images: Tensor) -> Tensor:
    return net.norm(net.first(images)) + net.first(images)


def weight_itself(net: Foldable, images: Tensor) -> Tensor:
    return net.norm(net.first(images)) + functional.conv2d(images, net.first.weight)


def norm_itself(net: Foldable, images: Tensor) -> Tensor:
    return net.norm(net.first(images)) + net.norm.weight.view(1, -1, 1, 1)


def plainly(net: Foldable, images: Tensor) -> Tensor:
    return net.norm(net.first(images))


def trained(net: Foldable) -> Foldable:
    torch.manual_seed(1)
    for norm in (net.norm, net.plain):
        nn.init.normal_(norm.weight)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.2, 3)
    return net.eval()


def unmoved(net: nn.Module, pairs: list[tuple[str, str]]) -> bool:
    before = net(IMAGES).detach()
    assert fold_batch_norm(net, IMAGES[:2]) == pairs
    return float((net(IMAGES).detach() - before).abs().max()) < 1e-5 * float(before.abs().max())


@pytest.mark.parametrize(
    "forward",
    [changed_before, changed_by_a_layer, changed_after, part_changed, norm_twice, layer_twice, weight_itself,
     norm_itself],
    ids=lambda forward: forward.__name__,
)  # fmt: skip
def test_what_lies_between_a_layer_and_its_normalisation_stays(forward: Callable[[Foldable, Tensor], Tensor]) -> None:
    assert unmoved(trained(Foldable(forward)), [("second", "plain")])


def tied(net: Foldable) -> None:
    net.second.weight = net.first.weight


def tied_bias(net: Foldable) -> None:
    net.second.bias = net.first.bias


def shared_memory(net: Foldable) -> None:
    net.second.weight = nn.Parameter(net.first.weight.data)


@pytest.mark.parametrize("tie", [tied, tied_bias, shared_memory], ids=lambda tie: tie.__name__)
def test_layers_that_share_weights_are_not_folded(tie: Callable[[Foldable], None]) -> None:
    net = trained(Foldable(plainly))
    tie(net)
    net.third, net.last = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
    net.last.eval()
    net.function = lambda net, images: net.last(net.third(net.norm(net.first(images))))
    assert unmoved(net, [("third", "last")])


def test_parts_of_one_long_vector_are_not_shared() -> None:
    net = trained(Foldable(plainly))
    vector = nn.utils.parameters_to_vector(net.parameters()).detach()
    nn.utils.vector_to_parameters(vector, net.parameters())
    assert unmoved(net, [("first", "norm"), ("second", "plain")])


def test_computed_weights_are_not_folded() -> None:
    net = trained(Foldable(plainly))
    nn.utils.parametrizations.weight_norm(net.first)
    assert unmoved(net, [("second", "plain")])


def test_computed_biases_are_not_folded() -> None:
    net = trained(Foldable(plainly))
    prune.l1_unstructured(net.first, "bias", 0.5)
    net.train()(IMAGES)
    assert unmoved(net.eval(), [("second", "plain")])


@pytest.mark.parametrize("name", ["in", "class", "a'b", "a\\b", "meta", "graph", "_code", "recompile"])
def test_a_name_that_a_graph_cannot_have_is_refused(name: str) -> None:
    """The graph is written as Python, and its layers lie beside its own functions."""
    net = nn.ModuleDict({name: nn.Linear(3, 2)})
    net.forward = lambda images: net[name](images)
    with pytest.raises(ValueError, match=re.escape(f"with a layer of the name {name!r}: give it another name")):
        trace(net, torch.ones(2, 3))


def test_a_normalisation_with_two_names_is_folded_under_both() -> None:
    net = trained(Foldable())
    net.both = nn.Sequential(net.first, net.norm)
    net.function = lambda net, images: net.both(images)
    assert unmoved(net, [("first", "norm"), ("second", "plain")])
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def test_a_fold_that_would_move_the_outputs_is_undone() -> None:
    """A normalisation held where no name leads to it stays, and normalises again."""
    net = trained(Foldable())
    hidden = [net.norm]
    net.function = lambda net, images: hidden[0](net.first(images))
    before, names = copy.deepcopy(net.state_dict()), [name for name, _ in net.named_modules()]
    with pytest.raises(Disagreement, match="folding batch normalisation would change what Foldable computes"):
        fold_batch_norm(net, torch.zeros(2, 1, 6, 6))
    after = net.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert [name for name, _ in net.named_modules()] == names and net.norm is hidden[0]
