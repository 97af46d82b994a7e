"""The recipe of pre-training and retraining, without torch: configurations hold it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from algo.support.settings import check_settings, setting

ActivationRange = Literal["minmax", "lsq"]
ACTIVATION_RANGES: tuple[ActivationRange, ...] = ("minmax", "lsq")
LearningRateSchedule = Literal["constant", "cosine", "k-decay"]
LEARNING_RATE_SCHEDULES: tuple[LearningRateSchedule, ...] = ("constant", "cosine", "k-decay")

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
#: The widest values whose levels bfloat16, with 8 significant bits, can tell apart.
BFLOAT16_BITS = 8

RetrainingMode = Literal["carried", "restarted"]
#: Whether weights are carried from policy to policy, or restart from the pre-trained ones.
RETRAINING_MODES: tuple[RetrainingMode, ...] = ("carried", "restarted")

#: Fields of `TrainingConfig` that pre-training ignores.
RETRAINING_ONLY = (
    "epochs_per_iteration", "batch_size", "learning_rate", "lr_schedule", "lr_k", "activation_range",
    "fold_batch_norm",
)  # fmt: skip


@dataclass(frozen=True)
class TrainingConfig:
    """Recipe of pre-training and retraining: stochastic gradient descent with Nesterov momentum.

    Attributes:
        pretrain_epochs: passes over the training images in float32, at least 0.
        int8_epochs: passes after that with every layer at 8 bits (quantisation-aware), at least 1.
        pretrain_batch_size: images per step in pre-training, at least 2.
        pretrain_learning_rate: peak step size in float32, above 0; falls along a cosine to 0.
        int8_learning_rate: the same for the 8-bit passes.
        epochs_per_iteration: passes over the local training images for each policy (E_max), at least 1.
        batch_size: images per step in retraining, at least 2.
        learning_rate: first step size in retraining, above 0.
        lr_schedule: how it falls over the steps of one retraining: ``constant``, ``cosine`` or ``k-decay``.
        lr_k: power of ``k-decay``'s time variable, above 0 and at most 100; the other two ignore it.
        activation_range: whether retraining observes the range of activations (``minmax``) or learns it (``lsq``).
        fold_batch_norm: whether batch normalisation is folded into the layers before it, with the statistics of
            pre-training, before retraining.
        momentum: share of the last step kept in the next, 0 up to 1 exclusive; every call starts at rest.
        weight_decay: pull of all weights towards zero, at least 0.
        threads: CPU threads torch uses, at least 1. Results repeat from run to run for one number of
            threads, but not across numbers, because sums are split differently. Two threads save a quarter on two
            idle cores. On busy cores they wait for each other and may take ten times as long, so the default is 1.
        precision: what layers compute in while they train: ``float32``, or ``bfloat16``, which is faster on processors
            that have it. Weights, their gradients, rounding to levels, and tests stay in float32. Values of more than 8
            bits are refused with bfloat16.

    Raises:
        ValueError: naming a field that may not have its value.
    """

    pretrain_epochs: int = setting(6, low=0)
    int8_epochs: int = setting(3, low=1)
    pretrain_batch_size: int = setting(32, low=2)
    pretrain_learning_rate: float = setting(0.05, above=0)
    int8_learning_rate: float = setting(0.01, above=0)
    epochs_per_iteration: int = setting(1, "Retraining epochs per iteration.", name="epochs", low=1, high=1000)
    batch_size: int = setting(100, low=2)
    learning_rate: float = setting(0.01, above=0)
    lr_schedule: LearningRateSchedule = setting(
        "constant", "Step size over the steps of one retraining.", choices=LEARNING_RATE_SCHEDULES
    )
    lr_k: float = setting(2.0, "Power of k-decay; 1 is the cosine.", flag="--k", above=0, high=100)
    activation_range: ActivationRange = setting(
        "minmax",
        "Range of activations: observed smallest and largest values, or learned.",
        choices=ACTIVATION_RANGES,
    )
    fold_batch_norm: bool = setting(False, "Fold batch normalisation into the layers after pre-training.")
    momentum: float = setting(0.9, low=0, below=1)
    weight_decay: float = setting(1e-4, low=0)
    threads: int = setting(1, "CPU threads of training.", low=1, high=256)
    precision: Precision = setting(
        "float32", "What layers compute in while they train; bfloat16 is faster where there is it.", choices=PRECISIONS
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def described(self) -> dict[str, Any]:
        """All fields, for keys of stored results; without the precision if it is float32, as in earlier versions."""
        fields = asdict(self)
        if self.precision == "float32":
            del fields["precision"]
        return fields

    def __repr__(self) -> str:
        return f"TrainingConfig({', '.join(f'{name}={value!r}' for name, value in self.described().items())})"
