"""The super-network: its networks, its mixture, and what a step of it costs."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from algo.nas.batch_norm import batch_statistics, recalibrate
from algo.nas.space import Architecture, Option, Space, Stage, space_named
from algo.nas.supernet import PATHS, SuperNet

SPACE = Space("test", 4, 2, (Stage(4, 2), Stage(6, 1, 2)), 8)
IMAGE = (1, 12, 12)


def net(paths: str = "shared", space: Space = SPACE, **more: Any) -> SuperNet:
    torch.manual_seed(1)
    return SuperNet(space, IMAGE, 3, paths, **more)  # type: ignore[arg-type]


def images(count: int = 16) -> Tensor:
    return torch.randn(count, *IMAGE, generator=torch.Generator().manual_seed(2))


def some_architectures(count: int = 4) -> list[Architecture]:
    draw = random.Random(1)
    return [tuple(draw.choices(SPACE.options, k=SPACE.block_count)) for _ in range(count)]


def certain(model: SuperNet, architecture: Architecture) -> tuple[Tensor, Tensor]:
    """Probabilities that leave no choice."""
    paths = [model.space.paths.index(option[:2]) for option in architecture]
    bits = [model.space.bits.index(option.bits) for option in architecture]
    return torch.eye(len(model.space.paths))[paths], torch.eye(len(model.space.bits))[bits]


@pytest.mark.parametrize("paths", PATHS)
def test_a_mixture_that_is_certain_is_the_one_network(paths: str) -> None:
    model = net(paths)
    made = []
    for architecture in some_architectures():
        with batch_statistics(model), torch.no_grad():
            with model.fixed(architecture):
                one = model(images())
            with model.set_probabilities(*certain(model, architecture)):
                assert torch.allclose(model(images()), one, atol=1e-4)
        made.append(one)
    assert not torch.allclose(made[0], made[1], atol=1e-2)


@pytest.mark.parametrize("paths", PATHS)
def test_a_network_taken_out_gives_what_it_gave_inside(paths: str) -> None:
    # 16 bits: rounding, which the network outside does on its own, hardly matters; the ends have 8.
    model = net(paths)
    for option in SPACE.options:
        if option.bits == 16:
            architecture = SPACE.same(option)
            with model.fixed(architecture), torch.no_grad():
                recalibrate(model, [images()])
                inside = model(images())
            network = model.extract(architecture).eval()
            outside = network(images()).detach()
            assert (inside - outside).abs().max() < 0.05 * outside.abs().max()
            assert network.architecture == architecture


def test_networks_share_weights_or_have_their_own() -> None:
    small, large = SPACE.same(Option(3, 3, 8)), SPACE.same(Option(5, 6, 8))
    for paths, shared in (("shared", True), ("multi", False), ("single", True)):
        model = net(paths)
        few = model.extract(small).blocks[0].layers[3].weight  # type: ignore[index, union-attr]
        many = model.extract(large).blocks[0].layers[3].weight  # type: ignore[index, union-attr]
        assert torch.equal(few, many[: len(few), :, 1:-1, 1:-1]) is shared  # type: ignore[arg-type, index]
        assert (len(model.blocks[0].kernels) == 1) is shared  # type: ignore[arg-type]


@pytest.mark.parametrize("paths", PATHS)
def test_a_step_gives_gradients_to_weights_and_choices(paths: str) -> None:
    model = net(paths)
    functional.cross_entropy(model(images()), torch.arange(16) % 3).backward()
    for value in model.arch_parameters():
        assert value.grad is not None and value.grad.isfinite().all() and value.grad.any(1).all()
    weights = model.weight_parameters()
    assert len(weights) + 2 == len(list(model.parameters()))
    assert all(value.grad is not None for value in weights)


def test_a_single_path_is_drawn_by_its_probability() -> None:
    model = net("single")
    with torch.no_grad():
        model.theta[0] = torch.tensor([0.0, 1.0, 2.0, -50.0])
    torch.manual_seed(3)
    drawn = torch.bincount(torch.tensor([model._choices()[0][0] for _ in range(3000)]), minlength=4) / 3000  # type: ignore[arg-type]
    assert torch.allclose(drawn, model.probabilities()[0][0], atol=0.03)
    model.eval()
    assert [choice[0] for choice in model._choices()][:1] == [2]


def test_temperature_makes_the_choice_certain_and_the_lead_is_for_more_bits() -> None:
    model = net(bits_lead=1.0)
    paths, bits = model.probabilities()
    assert torch.allclose(paths, torch.full_like(paths, 0.25)) and (bits.diff() > 0).all()
    with torch.no_grad():
        model.theta[:, 2] = 1.0
    model.temperature = 0.05
    paths, bits = model.probabilities()
    assert (paths[:, 2] > 0.999).all() and (bits[:, -1] > 0.999).all()


@pytest.mark.parametrize("paths", ["shared", "multi"])
def test_random_mixtures_are_drawn_by_the_probabilities_and_become_single_networks(paths: str) -> None:
    model = net(paths)
    model.noise = True
    with torch.no_grad():
        model.theta[:] = torch.tensor([0.0, 1.0, 2.0, -50.0])
    torch.manual_seed(3)

    def mean_and_largest() -> tuple[Tensor, float]:
        drawn = torch.stack([model._choices()[0].paths for _ in range(3000)]).detach()  # type: ignore[union-attr]
        return torch.bincount(drawn.argmax(1), minlength=4) / len(drawn), float(drawn.amax(1).mean())

    wanted = model.probabilities()[0][0]
    greatest, warm = mean_and_largest()
    assert torch.allclose(greatest, wanted, atol=0.03)
    model.temperature = 0.05
    greatest, cold = mean_and_largest()
    assert torch.allclose(greatest, wanted, atol=0.03) and warm < 0.9 < cold
    functional.cross_entropy(model(images()), torch.arange(16) % 3).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in model.arch_parameters())
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(images()), model(images()))  # nothing is random in evaluation


@pytest.mark.parametrize("paths", PATHS)
def test_every_block_works_in_channels_last_also_on_images_of_one_channel(paths: str) -> None:
    # A step takes twice the time otherwise.
    model = net(paths)
    orders = []
    for block in model.blocks:
        block.register_forward_hook(
            lambda _, given, made: orders.append(made.is_contiguous(memory_format=torch.channels_last))
        )
    model(images())
    assert orders == [True] * 3


class Memory(contextlib.ExitStack):
    """Bytes of all that a forward pass keeps for the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, int] = {}
        self.enter_context(torch.autograd.graph.saved_tensors_hooks(self._keep, lambda value: value))

    def _keep(self, value: Tensor) -> Tensor:
        self.kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    @property
    def total(self) -> int:
        return sum(self.kept.values())


def test_shared_paths_take_the_memory_of_the_largest_network_and_own_ones_more() -> None:
    space = space_named("small")
    used = {}
    for paths in PATHS:
        torch.manual_seed(1)
        model = SuperNet(space, (1, 28, 28), 10, paths)
        largest = model.fixed(space.same(Option(5, 6, 8))) if paths == "single" else contextlib.nullcontext()
        with largest, Memory() as memory:
            loss = model(torch.zeros(16, 1, 28, 28)).sum()  # noqa: F841 (it keeps the graph)
            used[paths] = memory.total
    assert used["shared"] < 1.5 * used["single"]  # the largest network itself
    assert 2 * used["shared"] < used["multi"]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^paths must be one of shared, multi, single, not 'all'$"):
        net("all")
    with pytest.raises(ValueError, match="expansion 1, which leaves out a convolution"):
        net(space=Space("one", 4, 2, (Stage(4, 1),), 8, expansions=(1, 6)))
    with pytest.raises(ValueError, match="has 3 blocks, not 1"), net().fixed((Option(3, 3, 8),)):
        pass
