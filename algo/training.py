"""Pre-training of the INT8 network, and its retraining under each policy of the search.

Everything is a function of the configuration, the data, a seed and the number of threads: batches come in an
order drawn from a generator seeded for each call, so there is no random state to save between iterations.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from algo.data import Dataset, LocalData
from algo.networks import VGG8
from algo.policy import Policy
from algo.quantisation import quantise, quantised_layers, set_bits
from algo.sgd import TrainingConfig, accuracy_of, reproducible, tensors, train
from sim.files import write_atomically

__all__ = ["MODES", "Mode", "Pretrained", "Retrainer", "TrainingConfig", "pretrain"]

Mode = Literal["carried", "restarted"]
MODES: tuple[Mode, ...] = ("carried", "restarted")
_CACHE_FORMAT = 1  # raise it when code changes make older cached networks differ from fresh ones


@dataclass(frozen=True)
class Pretrained:
    """A network trained at 8 bits, the start of every search.

    Attributes:
        make_model: makes the network, not yet quantised, with any weights.
        state: its trained state dict once quantised, on the CPU.
        accuracy: fraction of the data set's test images classified rightly at 8 bits, 0..1.
        key: hexadecimal digest of all that the state depends on.
        cached: whether it was read from the cache.
    """

    make_model: Callable[[], nn.Module]
    state: Mapping[str, Tensor]
    accuracy: float
    key: str
    cached: bool


def pretrain(
    dataset: Dataset,
    config: TrainingConfig,
    width: int = 8,
    seed: int = 1,
    cache_dir: Path | None = None,
    make_model: Callable[[], nn.Module] | None = None,
) -> Pretrained:
    """Train a network in float32, then at 8 bits, or read the very same one from the cache.

    Args:
        dataset: its training images are trained on, its test images only give the accuracy.
        config: the recipe; fields of retraining do not matter here.
        width: channels of VGG8's first convolution; ignored when ``make_model`` is given.
        seed: of the first weights and the order of the images, 0..2^63-1.
        cache_dir: folder of trained networks, made when missing; None trains anew. A damaged file there is
            said so on standard error and replaced.
        make_model: makes a network of one's own (images in, logits out), no argument.

    Raises:
        ValueError: if the seed is out of range or the network has no layer to quantise.
    """
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be in 0..2^63-1, not {seed}")
    if make_model is None:
        channels = dataset.train_images.shape[1]

        def make_model() -> nn.Module:
            return VGG8(dataset.classes, channels, width)

    with reproducible(config.threads):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            model = make_model().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        key = _pretraining_key(dataset, config, seed, model)
        path = cache_dir / f"pretrained-{key[:24]}.pt" if cache_dir else None
        stored = _read_cached(path, key) if path else None
        if stored:
            return Pretrained(make_model, stored["state"], stored["accuracy"], key, cached=True)
        images, labels = tensors(dataset.train_images, dataset.train_labels)
        generator = torch.Generator().manual_seed(seed)
        batch = config.pretrain_batch_size
        rate, epochs = config.pretrain_learning_rate, config.pretrain_epochs
        train(model, images, labels, config, epochs, batch, rate, generator, fall=True, label="float32")
        quantise(model)
        rate, epochs = config.int8_learning_rate, config.int8_epochs
        train(model, images, labels, config, epochs, batch, rate, generator, fall=True, label="INT8")
        accuracy = accuracy_of(model, *tensors(dataset.test_images, dataset.test_labels))
        state = _copy(model.state_dict())
    if path:
        _write_cached(path, {"key": key, "state": state, "accuracy": accuracy})
    return Pretrained(make_model, state, accuracy, key, cached=False)


class Retrainer:
    """Retrains one network under each policy's bit-widths and tells its accuracy on the local test images.

    In mode ``carried`` the weights go on from iteration to iteration, as published: accuracy depends on all
    policies before. In mode ``restarted`` every policy starts from the pre-trained weights, so accuracy
    depends on the seed and the bit-widths alone and a repeat is served from `cache`.

    Args:
        pretrained: the network to start from.
        local: the local private set.
        config: the recipe; fields of pre-training do not matter here.
        mode: ``carried`` or ``restarted``.
        seed: of the order of images, any integer.

    Attributes:
        cache: accuracy by (weight bits, activation bits), filled in mode ``restarted`` only.
        source: description of the data.

    Raises:
        ValueError: if the mode is unknown or the images do not suit the network.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        local: LocalData,
        config: TrainingConfig,
        mode: Mode = "carried",
        seed: int = 1,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
        self.cache: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
        self._pretrained, self._config, self._mode, self._seed = pretrained, config, mode, seed
        self.source = local.source
        self._train_set = tensors(local.train_images, local.train_labels)
        self._test_set = tensors(local.test_images, local.test_labels)
        with torch.random.fork_rng(devices=()):
            made = pretrained.make_model()
        self._model = quantise(made).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._model.load_state_dict(pretrained.state)
        # Whatever must agree before a saved state may be taken up again.
        self._identity = _digest(mode, seed, asdict(config), pretrained.key, local.digest())

    @property
    def layers(self) -> int:
        """Number of quantised layers, which is the number of bit-widths a policy must have."""
        return len(quantised_layers(self._model))

    def is_cached(self, policy: Policy) -> bool:
        """Whether `accuracy` would be served from the cache; the operating point plays no part."""
        return (policy.weight_bits, policy.activation_bits) in self.cache

    def accuracy(self, policy: Policy, iteration: int) -> float:
        """Retrain under a policy's bit-widths, then test.

        Args:
            policy: bit-widths, one pair a layer; its operating point plays no part.
            iteration: number of the search iteration, which seeds the order of images in mode ``carried``
                and plays no part in mode ``restarted``.

        Returns:
            Fraction of the local test images classified rightly, 0..1.

        Raises:
            ValueError: if the bit-widths do not suit the network; nothing is changed then.
        """
        bits = (policy.weight_bits, policy.activation_bits)
        set_bits(self._model, *bits)
        if bits in self.cache:
            return self.cache[bits]
        if self._mode == "restarted":
            accuracy = self._retrain_afresh(bits)
            self.cache[bits] = accuracy
            return accuracy
        return self._retrain(self._seed, iteration)

    def baseline(self) -> float:
        """Accuracy (0..1) of the pre-trained INT8 network on the local test images, not retrained."""
        with self._aside(), reproducible(self._config.threads):
            return accuracy_of(self._model, *self._test_set)

    def retrained_baseline(self) -> float:
        """Accuracy (0..1) with all layers at 8 bits, retrained once from the pre-trained weights.

        The fair baseline for a policy's accuracy: it saw the same local images for the same number of epochs.
        """
        eight = (8,) * self.layers
        with self._aside():
            return self._retrain_afresh((eight, eight))

    def state(self) -> bytes:
        """All that later accuracies depend on: the weights when carried, else the cache."""
        weights = _copy(self._model.state_dict()) if self._mode == "carried" else None
        buffer = io.BytesIO()
        torch.save({"identity": self._identity, "weights": weights, "cache": self.cache}, buffer)
        return buffer.getvalue()

    def restore(self, saved: bytes) -> None:
        """Go on from `state`, bit for bit.

        Raises:
            ValueError: if the bytes are damaged or were saved under another configuration, seed, mode,
                network or local set; nothing is changed then.
        """
        try:
            content = torch.load(io.BytesIO(saved), weights_only=True)
            identity, weights, cache = content["identity"], content["weights"], content["cache"]
        except Exception as error:  # torch.load raises a different one for each kind of damage
            raise ValueError(f"the saved training state is damaged: {_first_line(error)}") from error
        if identity != self._identity:
            raise ValueError(
                "the saved training state belongs to another configuration, seed, mode, network or local set"
            )
        if weights is not None:
            self._model.load_state_dict(weights)
        self.cache = cache

    def _retrain(self, *seeds: object) -> float:
        config = self._config
        generator = torch.Generator().manual_seed(int(_digest(*seeds)[:15], 16))
        epochs, batch, rate = config.epochs_per_iteration, config.batch_size, config.learning_rate
        with reproducible(config.threads):
            train(self._model, *self._train_set, config, epochs, batch, rate, generator)
            return accuracy_of(self._model, *self._test_set)

    def _retrain_afresh(self, bits: tuple[tuple[int, ...], tuple[int, ...]]) -> float:
        self._model.load_state_dict(self._pretrained.state)
        set_bits(self._model, *bits)
        return self._retrain(self._seed, bits)

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Work on the pre-trained weights at 8 bits and put the present weights and bit-widths back."""
        layers = [layer for _, layer in quantised_layers(self._model)]
        weights = _copy(self._model.state_dict())
        bits = [layer.weight_bits for layer in layers], [layer.activation_bits for layer in layers]
        self._model.load_state_dict(self._pretrained.state)
        set_bits(self._model, *[(8,) * self.layers] * 2)
        try:
            yield
        finally:
            self._model.load_state_dict(weights)
            set_bits(self._model, *bits)


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _pretraining_key(dataset: Dataset, config: TrainingConfig, seed: int, model: nn.Module) -> str:
    recipe = asdict(config)
    for name in ("epochs_per_iteration", "batch_size", "learning_rate"):  # play no part in pre-training
        del recipe[name]
    # The network enters by its structure and first weights, so that one of the user's own needs no name.
    weights = hashlib.sha256()
    for value in model.state_dict().values():
        weights.update(value.contiguous().numpy().tobytes())
    structure = repr(model), weights.hexdigest()
    return _digest(_CACHE_FORMAT, torch.__version__, recipe, seed, dataset.digest(), structure)


def _write_cached(path: Path, content: dict[str, object]) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getvalue()
    write_atomically(path, hashlib.sha256(payload).digest() + payload)


def _read_cached(path: Path, key: str) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        stored = path.read_bytes()
        if hashlib.sha256(stored[32:]).digest() != stored[:32]:
            raise ValueError("its checksum does not match its content")
        content: dict[str, Any] = torch.load(io.BytesIO(stored[32:]), weights_only=True)
        if content["key"] != key:
            raise ValueError("it belongs to another network or recipe")
    except Exception as error:  # whatever is wrong with it, training again puts it right
        print(
            f"pre-trained network {path} is damaged ({_first_line(error)}): training it again",
            file=sys.stderr,
        )
        return None
    return content
