"""The search: weights and choices of the super-network learn together, by gradient (HQNAS, algorithm 3-1)."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from algo.nas.config import NasConfig
from algo.nas.derive import fastest
from algo.nas.halves import Halves
from algo.nas.latency_table import Floats, LatencyTable
from algo.nas.scores import accuracy, entropy
from algo.nas.supernet import SuperNet
from algo.nets.train.learning_rate import k_decay
from algo.nets.train.sgd import reproducible

_DROPOUT_SHARE = 0.2  # of the epochs, as published: 20 of 100
_COOLING_SHARE = 0.75  # of the steps after the warm-up; in the rest the weights settle on what is nearly chosen
_RAMP_SHARE = 0.5  # of the steps after the warm-up, in which the weight of the latency rises to its full height


class Diverged(ValueError):
    """The loss is not a number any more."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch of a search came to.

    Attributes:
        epoch: number, from 1.
        loss: mean of what was minimised.
        accuracy: of the mixture on the second half, 0..1.
        expected_ms: latency to be expected of a network drawn by the probabilities.
        path_entropy, bit_entropy: of the choices, 1 (uniform) to 0 (decided).
        temperature: of the choices' softmax.
        seconds: that it took.
    """

    epoch: int
    loss: float
    accuracy: float
    expected_ms: float
    path_entropy: float
    bit_entropy: float
    temperature: float
    seconds: float


class Search:
    """A search, epoch by epoch. Each epoch depends on the seed, its number, and the state before it alone.

    Args:
        supernet: as `new_supernet` makes it.
        table: latency of each option.
        halves: the training images.
        config: how it learns.

    Attributes:
        epochs: what there was so far.
        limit_ms: the latency to meet; ``None`` with the published weights.

    Raises:
        ValueError: if the table is of another space or of other images, or no network is as fast as the limit.
    """

    def __init__(self, supernet: SuperNet, table: LatencyTable, halves: Halves, config: NasConfig) -> None:
        table.check_suits(supernet.space, halves.image, halves.classes)
        self.supernet, self.table, self.halves, self.config = supernet, table, halves, config
        self.epochs: list[Epoch] = []
        self.limit_ms = None if config.objective.latency is None else table.limit_ms(config.objective.latency)
        if self.limit_ms is not None and self.limit_ms < (least := fastest(table).ms):
            raise ValueError(
                f"no network of space {table.space.name} is as fast as {self.limit_ms:.4g} ms on {table.device}: the "
                f"fastest takes {least:.4g} ms; name that or more"
            )
        learning = config.learning
        images = len(halves.train_labels)
        self._batches = max(1, images // learning.batch_size)  # the rest, a smaller batch, waits for another epoch
        self._steps = learning.epochs * self._batches
        self._warm = learning.warmup * self._batches
        self._weights = torch.optim.SGD(
            supernet.weight_parameters(),
            learning.rate,
            learning.momentum,
            weight_decay=learning.weight_decay,
            nesterov=learning.momentum > 0,
            foreach=True,
        )
        # A step of Adam is about its rate, whatever the size of the gradient: so many steps reach so far.
        reach = learning.reach / (self._steps - self._warm)
        self._choices = torch.optim.Adam(supernet.arch_parameters(), reach, betas=(0.5, 0.999))
        self._device = supernet.theta.device

    @property
    def finished(self) -> bool:
        """Whether all epochs are over."""
        return len(self.epochs) >= self.config.learning.epochs

    def run(self, on_epoch: Callable[[Search], None] = lambda search: None) -> None:
        """All epochs that are left; after each, ``on_epoch`` is told, and may keep the `state`."""
        with tqdm(total=self._steps, initial=len(self.epochs) * self._batches, desc="search", disable=None) as bar:
            while not self.finished:
                self.epoch(bar)
                on_epoch(self)

    def epoch(self, bar: tqdm[Any] | None = None) -> Epoch:
        """One epoch; ``bar`` is moved on by each step.

        Raises:
            Diverged: if the loss is not a number any more; the state is lost then.
        """
        number, learning = len(self.epochs), self.config.learning
        begun, lost = time.perf_counter(), 0.0
        with reproducible(learning.threads, self._device), torch.random.fork_rng():
            torch.manual_seed(self.config.seed * 1_000_003 + number)  # dropout, drawn paths and the order of images
            self.supernet.dropout.p = learning.dropout if number < _DROPOUT_SHARE * learning.epochs else 0.0
            self.supernet.train()
            others = self._order(len(self.halves.valid_labels)) if learning.levels == "two" else ()
            for place, chosen in enumerate(self._order(len(self.halves.train_labels))):
                step = number * self._batches + place
                loss = self._step(step, chosen, others[place % len(others)] if others else None)
                if not math.isfinite(loss):
                    raise Diverged(
                        f"the loss is {loss} in epoch {number + 1}, step {place + 1}: continue from the last "
                        "checkpoint with a smaller rate, such as --rate "
                        f"{learning.rate / 5:g}"
                    )
                lost += loss
                if bar is not None:
                    bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                    bar.update()
            right = accuracy(self.supernet, self.halves)
            with torch.no_grad():
                paths, bits = self.supernet.probabilities()
                expected = float(self._expected_ms(paths, bits))
        made = Epoch(
            number + 1,
            lost / self._batches,
            right,
            expected,
            entropy(paths),
            entropy(bits),
            self.supernet.temperature,
            time.perf_counter() - begun,
        )
        self.epochs.append(made)
        return made

    def state(self) -> bytes:
        """Everything that the next epochs depend on, for `restore`."""
        buffer = io.BytesIO()
        content = {
            "supernet": self.supernet.state_dict(),
            "weights": self._weights.state_dict(),
            "choices": self._choices.state_dict(),
            "temperature": self.supernet.temperature,
            "epochs": [asdict(epoch) for epoch in self.epochs],
        }
        torch.save(content, buffer)
        return buffer.getvalue()

    def restore(self, state: bytes) -> None:
        """Go on from a `state` of a search with the same configuration; raises ValueError if it is damaged."""
        try:
            content = torch.load(io.BytesIO(state), map_location=self._device, weights_only=True)
            self.supernet.load_state_dict(content["supernet"])
            self._weights.load_state_dict(content["weights"])
            self._choices.load_state_dict(content["choices"])
            self.supernet.temperature = content["temperature"]
            self.epochs = [Epoch(**epoch) for epoch in content["epochs"]]
        except Exception as error:  # whatever torch says about bytes that are not its own
            raise ValueError(f"the state of the search is damaged or of another search ({error})") from None

    def _order(self, images: int) -> Sequence[Tensor]:
        """Numbers of the images of each batch, all of one size."""
        size = min(self.config.learning.batch_size, images)
        chosen = torch.randperm(images)[: images // size * size]
        batches: Sequence[Tensor] = chosen.to(self._device).split(size)
        return batches

    def _step(self, step: int, chosen: Tensor, others: Tensor | None) -> float:
        """One step of weights and choices on the images; or of the weights, and of the choices on other images."""
        learning, halves = self.config.learning, self.halves
        for group in self._weights.param_groups:
            group["lr"] = learning.rate * k_decay(step, self._steps, 1)
        images, labels = halves.train_images[chosen], halves.train_labels[chosen]
        done = (step - self._warm) / max(1, self._steps - self._warm - 1)  # of the steps that choose
        self.supernet.noise = done >= 0 and learning.noise == "gumbel"
        if done < 0:
            return self._learn(images, labels, 0.0, self._weights)
        self.supernet.temperature = learning.coldest ** min(1.0, done / _COOLING_SHARE)
        height = min(1.0, done / _RAMP_SHARE)
        if others is None:
            return self._learn(images, labels, height, self._weights, self._choices)
        lost = self._learn(images, labels, height, self._weights)
        self._learn(halves.valid_images[others], halves.valid_labels[others], height, self._choices)
        return lost

    def _learn(self, images: Tensor, labels: Tensor, height: float, *optimisers: torch.optim.Optimizer) -> float:
        both: tuple[torch.optim.Optimizer, ...] = (self._weights, self._choices)
        for optimiser in both:
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                for value in group["params"]:
                    value.requires_grad_(optimiser in optimisers)
        loss = self._weighed(functional.cross_entropy(self.supernet(images), labels), height)
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        return float(loss.detach())

    def _weighed(self, lost: Tensor, height: float) -> Tensor:
        """What is minimised, from the cross-entropy: with the published weights, or beyond the limit alone."""
        objective = self.config.objective
        expected = self._expected_ms(*self.supernet.probabilities())
        if self.limit_ms is not None:
            return lost + objective.pressure * height * (expected / self.limit_ms - 1).clamp_min(0)
        assert objective.mu is not None and objective.nu is not None
        return objective.mu * lost + objective.nu * expected / self.table.uniform_ms

    def _expected_ms(self, paths: Tensor, bits: Tensor) -> Tensor:
        def tensor(values: Floats) -> Tensor:
            return torch.as_tensor(values, dtype=torch.float32, device=self._device)

        found: Tensor = self.table.expected_ms(paths, bits, tensor)
        return found


def new_supernet(config: NasConfig, halves: Halves) -> SuperNet:
    """The super-network that a search begins with, on the device of the images.

    Raises:
        ValueError: for a space that it cannot have.
    """
    learning = config.learning
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(config.seed)
        made = SuperNet(config.space, halves.image, halves.classes, learning.paths, learning.bits_lead)
    return made.to(halves.train_images.device)
