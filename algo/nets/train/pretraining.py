"""Pre-training of the INT8 network that every search starts from, and its cache.

The network is a function of the configuration, the data, a seed, the number of threads and the kind of device.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from algo.nets.data.datasets import Dataset
from algo.nets.quantisation import quantise, weight_layers
from algo.nets.registry import source_of
from algo.nets.saving import saved
from algo.nets.train.device_choice import training_device
from algo.nets.train.sgd import accuracy_of, check_precision, reproducible, suited_layout, tensors, train
from algo.nets.training_config import RETRAINING_ONLY, TrainingConfig
from sim.files import write_atomically

_CACHE_FORMAT = 1  # raise it when code changes make older cached networks differ from fresh ones


@dataclass(frozen=True)
class Pretrained:
    """A network trained at 8 bits, the start of every search.

    Attributes:
        make_model: makes the network, not yet quantised, with any weights.
        state: its trained state dict once quantised, on the CPU.
        accuracy: fraction of the data set's test images classified correctly at 8 bits, 0..1.
        key: hexadecimal digest of all that the state depends on.
        cached: whether it was read from the cache.
        layout: order of values in memory that it is trained in, see `algo.nets.train.sgd.suited_layout`.
    """

    make_model: Callable[[], nn.Module]
    state: Mapping[str, Tensor]
    accuracy: float
    key: str
    cached: bool
    layout: torch.memory_format = torch.channels_last


def pretrain(
    dataset: Dataset,
    config: TrainingConfig,
    make_model: Callable[[], nn.Module],
    seed: int = 1,
    cache_dir: Path | None = None,
) -> Pretrained:
    """Train a network in float32, then at 8 bits, or read the same one from the cache.

    Args:
        dataset: its training images are trained on, its test images only give the accuracy.
        config: the recipe; fields of retraining do not matter here.
        make_model: makes the network (images in, logits out), without arguments.
        seed: of the first weights and the order of the images, 0..2^63-1.
        cache_dir: folder of trained networks, made if missing; None always trains. A damaged file there is
            reported on standard error and replaced.

    Raises:
        ValueError: if the seed is out of range, or the network has no layer to quantise or one that cannot be
            (it is named), cannot be trained, or gives NaN; or the device cannot compute in the recipe's precision.
    """
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be in 0..2^63-1, not {seed}")
    device = training_device()
    check_precision(config.precision, device)
    with reproducible(config.threads, device):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            model = make_model()
        weight_layers(model)  # before anything is trained
        if not any(value.requires_grad for value in model.parameters()):
            raise ValueError("the network cannot be trained: requires_grad is False for all its parameters")
        layout = suited_layout(model, dataset.train_images.shape[1:], device)
        key = _pretraining_key(dataset, config, seed, model, device, layout)
        path = cache_dir / f"pretrained-{key[:24]}.pt" if cache_dir else None
        stored = _read_cached(path, key) if path else None
        if stored:
            return Pretrained(make_model, stored["state"], stored["accuracy"], key, cached=True, layout=layout)
        images, labels = tensors(dataset.train_images, dataset.train_labels, device, layout)
        generator = torch.Generator().manual_seed(seed)
        batch = config.pretrain_batch_size
        rate, epochs = config.pretrain_learning_rate, config.pretrain_epochs
        train(model, images, labels, config, epochs, batch, rate, generator, "cosine", "float32")
        if not all(bool(value.isfinite().all()) for value in model.parameters()):
            raise ValueError("the network's weights are not finite after pre-training: does it give NaN or infinity?")
        quantise(model)
        rate, epochs = config.int8_learning_rate, config.int8_epochs
        train(model, images, labels, config, epochs, batch, rate, generator, "cosine", "INT8")
        accuracy = accuracy_of(model, *tensors(dataset.test_images, dataset.test_labels, device, layout))
        state = copied(model.state_dict())
    if path:
        _write_cached(path, {"key": key, "state": state, "accuracy": accuracy})
    return Pretrained(make_model, state, accuracy, key, cached=False, layout=layout)


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of a state dict, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def digest_of(*parts: object) -> str:
    """Hexadecimal digest of values whose text tells them apart."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _pretraining_key(
    dataset: Dataset,
    config: TrainingConfig,
    seed: int,
    model: nn.Module,
    device: torch.device,
    layout: torch.memory_format = torch.channels_last,
) -> str:
    recipe = {name: value for name, value in config.described().items() if name not in RETRAINING_ONLY}
    if device.type != "cpu":
        recipe["device"] = device.type
    if layout != torch.channels_last:
        recipe["layout"] = str(layout)
    derived = [name for name, layer in weight_layers(model) if type(layer) not in (nn.Conv2d, nn.Linear)]
    if derived:  # earlier versions cached these networks without quantising such layers
        recipe["derived"] = derived
    if sources := source_of(model):  # a forward function shows neither in structure nor in weights
        recipe["sources"] = sources
    # The network enters by its structure and first weights, so a user's own needs no name.
    weights = hashlib.sha256()
    for value in model.state_dict().values():
        weights.update(value.cpu().contiguous().numpy().tobytes())
    structure = repr(model), weights.hexdigest()
    return digest_of(_CACHE_FORMAT, torch.__version__, recipe, seed, dataset.digest(), structure)


def _write_cached(path: Path, content: dict[str, object]) -> None:
    payload = saved(content)
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
    except Exception as error:  # whatever is wrong with it, training again repairs it
        print(
            f"pre-trained network {path} is damaged ({first_line(error)}): training it again",
            file=sys.stderr,
        )
        return None
    return content
