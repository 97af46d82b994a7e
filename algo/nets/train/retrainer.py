"""Retraining of the INT8 network under each policy of the search.

Everything is a function of the configuration, the data, a seed and the number of threads: the order of batches is
drawn from a generator that is seeded for each call, so no random state has to be saved between iterations.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from algo.nets.data.datasets import LocalData
from algo.nets.folding import fold_batch_norm
from algo.nets.quantisation import apply, policy_of, quantise, quantised_layers
from algo.nets.saving import saved
from algo.nets.train.device_choice import training_device
from algo.nets.train.pretraining import Pretrained, copied, digest_of, first_line
from algo.nets.train.sgd import accuracy_of, check_precision, reproducible, tensors, train
from algo.nets.training_config import BFLOAT16_BITS, RETRAINING_MODES, RetrainingMode, TrainingConfig
from algo.space.dimensions import ACTIVATION_BITS, DIMENSIONS, WEIGHT_BITS
from algo.space.policy import Policy


class Retrainer:
    """Retrains one network under each policy's bit-widths and measures its accuracy on the local test images.

    In mode ``carried`` the weights carry over from iteration to iteration, as published: accuracy depends on all
    earlier policies. In mode ``restarted`` every policy starts from the pre-trained weights, so accuracy
    depends only on the seed and the bit-widths, and a repeat is served from `cache`.

    Args:
        pretrained: the network to start from.
        local: the local private set.
        config: the recipe; fields of pre-training do not matter here.
        mode: ``carried`` or ``restarted``.
        seed: of the order of images, any integer.

    Attributes:
        cache: accuracy by `Policy.trained`, filled in mode ``restarted`` only.
        source: description of the data.

    Raises:
        ValueError: if the mode is unknown, the images do not suit the network, or the device cannot compute in the
            recipe's precision.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        local: LocalData,
        config: TrainingConfig,
        mode: RetrainingMode = "carried",
        seed: int = 1,
    ) -> None:
        if mode not in RETRAINING_MODES:
            raise ValueError(f"mode must be one of {', '.join(RETRAINING_MODES)}, not {mode!r}")
        self.cache: dict[tuple[tuple[int, ...], ...], float] = {}
        self._config, self._mode, self._seed = config, mode, seed
        self.source = local.source
        self._device = training_device()
        check_precision(config.precision, self._device)
        self._train_set = tensors(local.train_images, local.train_labels, self._device, pretrained.layout)
        self._test_set = tensors(local.test_images, local.test_labels, self._device, pretrained.layout)
        with torch.random.fork_rng(devices=()):
            made = quantise(pretrained.make_model(), config.activation_range)
        self._model = made.to(self._device, memory_format=pretrained.layout)  # type: ignore[call-overload]
        self._model.load_state_dict(pretrained.state)
        if config.fold_batch_norm:
            fold_batch_norm(self._model, self._test_set[0][:2])
        for _, layer in quantised_layers(self._model):
            if layer.learned:  # the first local images set the clips: noise has widened their ranges
                layer.seen.fill_(False)
        self._start = copied(self._model.state_dict())
        # Everything that must agree before a saved state may be restored.
        self._identity = digest_of(mode, seed, config.described(), pretrained.key, local.digest(), self._device.type)

    @property
    def layers(self) -> int:
        """Number of quantised layers; a policy has as many bit-widths."""
        return len(quantised_layers(self._model))

    def test_images(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The local test images (N, ...) and their labels (N,)."""
        images, labels = self._test_set
        return images.cpu().contiguous().numpy(), labels.cpu().numpy()

    def is_cached(self, policy: Policy) -> bool:
        """Whether `accuracy` would be served from the cache; the operating point does not matter."""
        return policy.trained in self.cache

    def accuracy(self, policy: Policy, iteration: int) -> float:
        """Retrain under a policy's bit-widths, then test.

        Args:
            policy: bit-widths, one pair per layer; its operating point is ignored.
            iteration: number of the search iteration, which seeds the order of images in mode ``carried``
                and is ignored in mode ``restarted``.

        Returns:
            Fraction of the local test images classified correctly, 0..1.

        Raises:
            ValueError: if the bit-widths do not suit the network or the precision; nothing is changed then.
        """
        self._apply(policy)
        if policy.trained in self.cache:
            return self.cache[policy.trained]
        if self._mode == "restarted":
            accuracy = self._retrain_afresh(policy)
            self.cache[policy.trained] = accuracy
            return accuracy
        return self._retrain(self._seed, iteration)

    def network(self, policy: Policy, iteration: int | None = None) -> tuple[nn.Module, float]:
        """The network retrained under a policy, for export, and its accuracy; never served from the cache.

        Args:
            policy: as for `accuracy`.
            iteration: retraining continues from the current weights, as `accuracy` does in mode ``carried``; with
                None, and in mode ``restarted``, it starts from the pre-trained ones.

        Returns:
            A copy on the CPU, in evaluation mode, with the policy's bit-widths; accuracy, 0..1.
        """
        self._apply(policy)
        if iteration is None or self._mode == "restarted":
            accuracy = self._retrain_afresh(policy)
        else:
            accuracy = self._retrain(self._seed, iteration)
        return copy.deepcopy(self._model).cpu().eval(), accuracy

    def baseline(self) -> float:
        """Accuracy (0..1) of the pre-trained INT8 network on the local test images, not retrained."""
        with self._aside(), reproducible(self._config.threads, self._device):
            return accuracy_of(self._model, *self._test_set)

    def retrained_baseline(self, policy: Policy | None = None) -> float:
        """Accuracy (0..1) under a policy, by default 8 bits everywhere, retrained once from the pre-trained weights.

        The fair baseline for a policy's accuracy: it saw the same local images for the same number of epochs.
        """
        eight = (8,) * self.layers
        with self._aside():
            return self._retrain_afresh(policy or Policy(eight, eight))

    def error_std(self, accuracy: float) -> float:
        """Standard deviation of the error of a measured accuracy, beside those of other policies.

        All are measured on the same images, and mostly fail on the same, so it is half of the binomial one: measured
        as 0.012 beside 0.022 on the digits, and as 0.0034 beside 0.0065 on CIFAR-10 (docs/use/data-and-networks.md).
        """
        images = len(self._test_set[1])
        # One image more of either kind, so that a network which is always right has an error too.
        share = (accuracy * images + 1) / (images + 2)
        return float(0.5 * (share * (1 - share) / images) ** 0.5)

    def state(self) -> bytes:
        """All that later accuracies depend on: the weights when carried, else the cache."""
        weights = copied(self._model.state_dict()) if self._mode == "carried" else None
        return saved({"identity": self._identity, "weights": weights, "cache": self.cache})

    def restore(self, saved: bytes) -> None:
        """Resume from `state`, bit for bit.

        Raises:
            ValueError: if the bytes are damaged or were saved under another configuration, seed, mode,
                network or local set; nothing is changed then.
        """
        try:
            content = torch.load(io.BytesIO(saved), weights_only=True)
            identity, weights, cache = content["identity"], content["weights"], content["cache"]
        except Exception as error:  # torch.load raises a different one for each kind of damage
            raise ValueError(f"the saved training state is damaged: {first_line(error)}") from error
        if identity != self._identity:
            raise ValueError(
                "the saved training state belongs to another configuration, seed, mode, network, local set or kind "
                f"of device (this one trains on {self._device.type})"
            )
        if weights is not None:
            self._model.load_state_dict(weights)
        self.cache = cache

    def _retrain(self, *seeds: object) -> float:
        config = self._config
        generator = torch.Generator().manual_seed(int(digest_of(*seeds)[:15], 16))
        epochs, batch, rate = config.epochs_per_iteration, config.batch_size, config.learning_rate
        with reproducible(config.threads, self._device):
            train(self._model, *self._train_set, config, epochs, batch, rate, generator, config.lr_schedule)
            return accuracy_of(self._model, *self._test_set)

    def _apply(self, policy: Policy) -> None:
        given = (policy.per_layer.get(bits.name, ()) for bits in (WEIGHT_BITS, ACTIVATION_BITS))
        widest = max((bits for column in given for bits in column), default=0)
        if self._config.precision == "bfloat16" and widest > BFLOAT16_BITS:
            raise ValueError(
                f"bfloat16 cannot tell apart the levels of {widest} bits, only those of up to {BFLOAT16_BITS}: take "
                "--precision float32, or fewer bits"
            )
        apply(self._model, policy)

    def _retrain_afresh(self, policy: Policy) -> float:
        self._model.load_state_dict(self._start)
        self._apply(policy)
        return self._retrain(self._seed, policy.trained)

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Work on the pre-trained weights at the usual values, then put the current weights and values back."""
        weights, current = copied(self._model.state_dict()), policy_of(self._model)
        self._model.load_state_dict(self._start)
        usual = {name: (DIMENSIONS[name].usual,) * self.layers for name, _ in current.values}
        apply(self._model, Policy(point=0, **usual))
        try:
            yield
        finally:
            self._model.load_state_dict(weights)
            apply(self._model, current)
