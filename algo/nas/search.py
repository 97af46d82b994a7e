"""The search: weights, theta and phi of the super-network learn together, under the latency that is aimed at.

Algorithm 3-1 of HQNAS, in one loop. What keeps it from going wrong is on unless it is switched off: the choices are
frozen during warm-up, wider bits start ahead, batch normalisation takes the statistics of each batch, and the
choices become sharper from epoch to epoch.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from algo.nas.batch_norm import batch_statistics, batches
from algo.nas.config import AimConfig, LearningConfig
from algo.nas.latency_table import Floats, LatencyTable
from algo.nas.limits import Limits
from algo.nas.supernet import SuperNet
from algo.nets.saving import saved
from algo.nets.train.augment import Change

#: Images and labels.
Part = tuple[Tensor, Tensor]
#: Images that an epoch is judged by, at most, but for the last one.
_GLANCE = 1000


class Diverged(RuntimeError):
    """The loss is not a number any more."""


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch.

    Attributes:
        epoch: its number, from 1.
        loss: mean cross-entropy of its steps.
        accuracy: of the mixed network on the validation half, 0..1; on some 1,000 images of it until the last epoch.
        expected_ms: latency to be expected at its end.
        path_entropy, bit_entropy: of the probabilities, mean over the blocks, in bits; 0 when all is decided.
        temperature: of the choices.
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

    def to_json(self) -> dict[str, Any]:
        """As an object for JSON."""
        return asdict(self)


class Search:
    """A search that goes on epoch by epoch, and can be saved between two.

    Args:
        network: on its device, with its first weights.
        table: latencies of its options.
        learned, judged: images and labels to learn from, and those that give the accuracy (with two levels, theta and
            phi learn from these).
        config: how it learns.
        aim: what it aims at.
        limits: of ``aim``; ``None`` with mu and nu.
        seed: of the order of images and of what is drawn.
        change: of the images of every step.

    Attributes:
        epochs: what is known of each.
        rate: the weights' step size, as a part of the first, by the share of the epochs done, 0..1; not saved.
    """

    def __init__(
        self,
        network: SuperNet,
        table: LatencyTable,
        learned: Part,
        judged: Part,
        config: LearningConfig,
        aim: AimConfig,
        limits: Limits | None,
        seed: int,
        change: Change | None = None,
    ) -> None:
        self.network, self.table, self.epochs = network, table, list[Epoch]()
        self._learned, self._judged, self._config, self._aim = learned, judged, config, aim
        self._limits, self._seed, self._change = limits, seed, change
        self.rate: Callable[[float], float] = _cosine
        device = learned[0].device
        self._convert: Callable[[Floats], Tensor] = lambda values: torch.as_tensor(
            values, dtype=torch.float32, device=device
        )
        self._weights = torch.optim.SGD(
            network.weight_parameters(), config.learning_rate, config.momentum, weight_decay=config.weight_decay,
            foreach=True,
        )  # fmt: skip
        # A step of Adam is about as long as its rate. So all steps together can go about as far as `reach`.
        steps = (config.epochs - config.warmup) * len(self._numbers(torch.arange(len(learned[0]))))
        self._choices = torch.optim.Adam(network.arch_parameters(), config.reach / steps, betas=(0.5, 0.999))

    def show(self, learned: Part, judged: Part) -> None:
        """Go on with other images, such as those of more classes; the number of steps in an epoch follows."""
        self._learned, self._judged = learned, judged

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return len(self.epochs) >= self._config.epochs

    def epoch(self, on_step: Callable[[int, int, float], None] | None = None) -> Epoch:
        """Learn for one epoch.

        Args:
            on_step: is told the number of steps done, those of the epoch, and the loss.

        Raises:
            Diverged: if the loss is not a number; the state before the epoch is lost then.
        """
        start, config, number = time.perf_counter(), self._config, len(self.epochs)
        torch.manual_seed(_seed_of(self._seed, number))
        generator = torch.Generator().manual_seed(_seed_of(self._seed, number))
        learning = number >= config.warmup
        self.network.temperature = self._temperature(number)
        self.network.noise = learning and config.mixtures == "random"
        self.network.dropout.p = config.dropout if number < math.ceil(config.epochs / 5) else 0.0
        images, labels = self._learned
        order = torch.randperm(len(images)).to(images.device)
        others = torch.randperm(len(self._judged[0])).to(images.device)
        steps = self._numbers(order)
        self.network.train()
        total = 0.0
        for step, chosen in enumerate(steps):
            done = number + step / len(steps)
            self._weights.param_groups[0]["lr"] = config.learning_rate * self.rate(done / config.epochs)
            shown = images[chosen] if self._change is None else self._change(images[chosen], generator)
            loss = functional.cross_entropy(self.network(shown), labels[chosen])
            if not bool(loss.isfinite()):
                raise Diverged(f"the loss of epoch {number + 1} is {float(loss.detach())} after {step} steps")
            total += float(loss.detach())
            self._weights.zero_grad(set_to_none=True)
            self._choices.zero_grad(set_to_none=True)
            if learning and config.levels == "single":
                self._aimed(loss, done).backward()
                self._choices.step()
            else:
                loss.backward()
            self._weights.step()
            if learning and config.levels == "two":
                place = step * config.batch_size % max(1, len(others) - config.batch_size + 1)
                self._learn_choices(others[place : place + config.batch_size], done)
            if on_step is not None:
                on_step(step + 1, len(steps), float(loss.detach()))
        check_finite(self.network, f"after epoch {number + 1}")
        paths, bits = self.network.probabilities()
        at_most = _GLANCE if number + 1 < config.epochs else None
        record = Epoch(
            number + 1, total / len(steps), self.mixed_accuracy(at_most), self.expected_ms(), _entropy(paths),
            _entropy(bits), self.network.temperature, time.perf_counter() - start,
        )  # fmt: skip
        self.epochs.append(record)
        return record

    def _numbers(self, order: Tensor) -> list[Tensor]:
        """The numbers of the images of each step; a single last one is left out, for batch statistics need two."""
        return [some for some in order.split(self._config.batch_size) if len(some) > 1]

    def expected_ms(self) -> float:
        """Latency to be expected by the probabilities."""
        with torch.no_grad():
            return float(self.table.expected_ms(*self.network.probabilities(), self._convert))

    def mixed_accuracy(self, at_most: int | None = None) -> float:
        """Accuracy of the mixed network on the validation half, or on some of its images, 0..1."""
        return accuracy_of_batches(self.network, *spread(self._judged, at_most))

    def state(self) -> bytes:
        """Everything that the next epoch depends on, and the epochs so far."""
        return saved(
            {
                "network": self.network.state_dict(),
                "weights": self._weights.state_dict(),
                "choices": self._choices.state_dict(),
                "epochs": [epoch.to_json() for epoch in self.epochs],
            }
        )

    def restore(self, state: bytes) -> None:
        """Go on from what `state` gave."""
        content = torch.load(io.BytesIO(state), weights_only=True, map_location=self._learned[0].device)
        self.network.load_state_dict(content["network"])
        self._weights.load_state_dict(content["weights"])
        self._choices.load_state_dict(content["choices"])
        self.epochs = [Epoch(**epoch) for epoch in content["epochs"]]
        if self.epochs:
            self.network.temperature = self.epochs[-1].temperature

    def _learn_choices(self, chosen: Tensor, done: float) -> None:
        images, labels = self._judged
        self._choices.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(self.network(images[chosen]), labels[chosen])
        self._aimed(loss, done).backward()
        self._choices.step()

    def _aimed(self, loss: Tensor, done: float) -> Tensor:
        """The loss with latency in it: mu CE + nu Lat as published, or CE and what is beyond the limits.

        Lat is a multiple of the latency of the uniform mixture, so that weights mean the same on every device. What is
        beyond the limit weighs more and more in the first half of the epochs after warm-up.
        """
        probabilities = self.network.probabilities()
        latency = self.table.expected_ms(*probabilities, self._convert)
        limits = self._limits
        if limits is None:
            assert self._aim.mu is not None and self._aim.nu is not None
            both: Tensor = self._aim.mu * loss + self._aim.nu * latency / self.table.uniform_ms
            return both
        config = self._config
        ramp = min(1.0, 2 * (done - config.warmup) / max(1, config.epochs - config.warmup))
        beyond: Tensor = functional.relu(latency / limits.ms - 1)
        if limits.sizes is not None and limits.most_bytes is not None:
            size = limits.sizes.expected_bytes(*probabilities, self._convert)
            beyond = beyond + functional.relu(size / limits.most_bytes - 1)
        return loss + self._aim.pressure * ramp * beyond

    def _temperature(self, number: int) -> float:
        """From 1 at the end of warm-up to the end, by equal factors, in three quarters of the epochs left."""
        config = self._config
        steps = 0.75 * (config.epochs - config.warmup) - 1
        done = min(1.0, max(0.0, (number - config.warmup) / steps)) if steps > 0 else float(number >= config.warmup)
        return float(config.temperature**done)


def spread(part: Part, at_most: int | None) -> Part:
    """At most this many of the images, evenly spread, because they may be ordered by class."""
    images, labels = part
    if at_most is None or len(images) <= at_most:
        return part
    numbers = torch.arange(at_most, device=images.device) * len(images) // at_most
    return images[numbers], labels[numbers]


def check_finite(model: nn.Module, when: str) -> None:
    """Raise Diverged, which says when, unless all weights and averages of a model are finite numbers."""
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        raise Diverged(f"weights are not finite numbers {when}")


@torch.no_grad()
def accuracy_of_batches(
    network: SuperNet, images: Tensor, labels: Tensor, batch: int = 256, classes: int | None = None
) -> float:
    """Share of images classified rightly with the statistics of each batch, 0..1; raises Diverged for NaN.

    With ``classes``, only that many first classes can be the answer.
    """
    right = 0
    with batch_statistics(network):
        for some, wanted in zip(batches(images, batch), batches(labels, batch), strict=True):
            logits = network(some)[:, :classes]
            if not bool(logits.isfinite().all()):
                raise Diverged("the network's outputs are not finite numbers")
            right += int((logits.argmax(1) == wanted).sum())
    return right / len(images)


def _entropy(probabilities: Tensor) -> float:
    """Mean over the blocks, in bits."""
    known = probabilities.detach()
    return float(-(known * known.clamp_min(1e-12).log2()).sum(1).mean())


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _seed_of(seed: int, number: int) -> int:
    """A seed for each epoch, so that a search goes on the same after an interruption."""
    return seed * 1_000_003 + number
