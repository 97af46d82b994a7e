from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from algo.nets.data.datasets import Dataset, LocalData, local_private_set
from algo.nets.models.vgg8 import VGG8
from algo.nets.train.device_choice import VARIABLE, training_device
from algo.nets.train.pretraining import Pretrained, _pretraining_key, pretrain
from algo.nets.train.retrainer import Retrainer
from algo.nets.train.sgd import StepInfo, check_precision, tensors, train
from algo.nets.training_config import RetrainingMode, TrainingConfig
from algo.space.policy import Policy

CONFIG = TrainingConfig(pretrain_epochs=1, int8_epochs=1, batch_size=20, learning_rate=0.02, threads=1)


def striped(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that are easy to tell apart: stripes across and down, under a little noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    stripes = np.where(np.arange(32) % 4 < 2, 1.0, -1.0)
    images = np.where(labels[:, None, None] == 1, stripes[:, None], stripes[None])
    images = images + 0.3 * generator.standard_normal((count, 32, 32))
    return images[:, None].astype(np.float32), labels


DATA = Dataset("stripes", *striped(160, 1), *striped(120, 2), 2)
LOCAL = local_private_set(DATA, 120, 1.0, seed=3)
NOISY = local_private_set(DATA, 120, 2.5, seed=3)  # hard enough that accuracies differ from policy to policy


def policy(weights: tuple[int, ...], point: int = 0) -> Policy:
    return Policy(weights, (8,) * 8, point)


WALK = [policy(w) for w in ((8,) * 8, (2, 4, 8, 2, 4, 8, 2, 4), (4,) * 8, (8, 2) * 4, (4,) * 8)]


def make_model() -> VGG8:
    return VGG8(2, 1, 2)


@pytest.fixture(scope="module")
def trained() -> Pretrained:
    return pretrain(DATA, CONFIG, make_model)


def weights_of(pretrained: Pretrained) -> bytes:
    return b"".join(value.numpy().tobytes() for value in pretrained.state.values())


# --- pre-training ------------------------------------------------------------------------------------------


def test_pretraining_learns_and_repeats_bit_for_bit(trained: Pretrained) -> None:
    assert trained.accuracy > 0.95
    again = pretrain(DATA, CONFIG, make_model)
    assert weights_of(again) == weights_of(trained)
    assert weights_of(pretrain(DATA, CONFIG, make_model, 2)) != weights_of(trained)


def test_pretrained_networks_come_from_the_cache(tmp_path: Path, trained: Pretrained) -> None:
    cache = tmp_path / "deep" / "cache"
    first = pretrain(DATA, CONFIG, make_model, 1, cache)
    second = pretrain(DATA, CONFIG, make_model, 1, cache)
    assert (first.cached, second.cached) == (False, True)
    assert weights_of(first) == weights_of(second) == weights_of(trained)
    assert first.accuracy == second.accuracy
    # What only retraining uses does not make it another network.
    assert pretrain(DATA, replace(CONFIG, learning_rate=0.5, batch_size=7), make_model, 1, cache).cached
    assert [path.suffix for path in cache.iterdir()] == [".pt"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_cache_file_is_said_and_replaced(
    tmp_path: Path, trained: Pretrained, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(DATA, CONFIG, make_model, 1, tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    changed = {"cut": whole[:-100], "empty": b"", "text": b"not a network" * 10}
    changed["flipped"] = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    path.write_bytes(changed[damage])
    capsys.readouterr()
    again = pretrain(DATA, CONFIG, make_model, 1, tmp_path)
    said = capsys.readouterr()
    assert not again.cached
    assert weights_of(again) == weights_of(trained)
    assert str(path) in said.err
    assert "damaged" in said.err
    assert not said.out
    assert pretrain(DATA, CONFIG, make_model, 1, tmp_path).cached


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a | {"seed": 2},
        lambda a: a | {"make_model": lambda: VGG8(2, 1, 3)},
        lambda a: a | {"config": replace(CONFIG, pretrain_epochs=2)},
        lambda a: a | {"config": replace(CONFIG, momentum=0.5)},
        lambda a: a | {"dataset": replace(DATA, train_images=DATA.train_images[:, :, ::-1].copy())},
    ],
)
def test_whatever_changes_the_network_changes_its_key(
    change: Callable[[dict[str, object]], dict[str, object]], trained: Pretrained
) -> None:
    arguments = change({"dataset": DATA, "config": CONFIG, "make_model": make_model, "seed": 1})
    assert pretrain(**arguments).key != trained.key


def test_pretraining_leaves_torchs_settings_alone(trained: Pretrained) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_num_threads()
    pretrain(DATA, replace(CONFIG, threads=2), make_model, 1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("int8_epochs", 0),
        ("epochs_per_iteration", 0),
        ("batch_size", 1),
        ("threads", 0),
        ("threads", 1.5),
        ("learning_rate", 0.0),
        ("pretrain_learning_rate", float("inf")),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
    ],
)
def test_a_field_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{field}( \(--\w+\))? must be .* not {value:g}$"):
        TrainingConfig(**{field: value})


def test_a_seed_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match=r"seed must be in .*, not -1"):
        pretrain(DATA, CONFIG, make_model, -1)


# --- retraining --------------------------------------------------------------------------------------------


def run(trained: Pretrained, mode: RetrainingMode, seed: int = 1, local: LocalData = NOISY) -> list[float]:
    trainer = Retrainer(trained, local, CONFIG, mode, seed)
    return [trainer.accuracy(tried, i) for i, tried in enumerate(WALK)]


@pytest.mark.parametrize("mode", ["carried", "restarted"])
def test_a_walk_repeats_bit_for_bit(trained: Pretrained, mode: RetrainingMode) -> None:
    first = run(trained, mode)
    assert all(0 <= accuracy <= 1 for accuracy in first)
    assert len(set(first)) > 2
    assert first == run(trained, mode)
    assert first != run(trained, mode, seed=2)


def test_carried_weights_learn_the_local_set(trained: Pretrained) -> None:
    trainer = Retrainer(trained, LOCAL, CONFIG, "carried")
    for i in range(6):
        last = trainer.accuracy(WALK[0], i)
    assert last >= max(0.9, trainer.baseline())


def test_carried_weights_depend_on_what_went_before(trained: Pretrained) -> None:
    trainer = Retrainer(trained, NOISY, CONFIG, "carried")
    trainer.accuracy(WALK[1], 0)
    after = trainer.state()
    other = Retrainer(trained, NOISY, CONFIG, "carried")
    other.accuracy(WALK[2], 0)
    assert other.state() != after
    assert not trainer.cache


def test_carried_images_come_in_another_order_each_iteration(trained: Pretrained) -> None:
    states = []
    for iteration in (0, 0, 1):
        trainer = Retrainer(trained, NOISY, CONFIG, "carried")
        trainer.accuracy(WALK[0], iteration)
        states.append(trainer.state())
    assert states[0] == states[1] != states[2]


def test_restarted_depends_on_seed_and_bits_only_and_repeats_are_cached(trained: Pretrained) -> None:
    forward = Retrainer(trained, NOISY, CONFIG, "restarted")
    wanted = {tried: forward.accuracy(tried, i) for i, tried in enumerate(WALK)}
    assert len(forward.cache) == 4  # one of the five is a repeat
    backward = Retrainer(trained, NOISY, CONFIG, "restarted")
    assert not backward.is_cached(WALK[0])
    for i, tried in enumerate(reversed(WALK)):
        assert backward.accuracy(tried, 100 + i) == wanted[tried]
    assert backward.is_cached(WALK[0].but(point=5))
    assert backward.cache == forward.cache


def test_a_cached_accuracy_is_not_trained_again(trained: Pretrained, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Retrainer(trained, NOISY, CONFIG, "restarted")
    wanted = trainer.accuracy(WALK[1], 0)
    monkeypatch.setattr("algo.nets.train.retrainer.train", lambda *_, **__: pytest.fail("trained a repeat"))
    assert trainer.accuracy(WALK[1], 1) == wanted


@pytest.mark.parametrize("mode", ["carried", "restarted"])
@pytest.mark.parametrize("stop", [0, 2, 4])
def test_a_resumed_run_continues_bit_for_bit(trained: Pretrained, mode: RetrainingMode, stop: int) -> None:
    whole = Retrainer(trained, NOISY, CONFIG, mode)
    wanted = [whole.accuracy(tried, i) for i, tried in enumerate(WALK)]
    first = Retrainer(trained, NOISY, CONFIG, mode)
    for i in range(stop):
        first.accuracy(WALK[i], i)
    saved = first.state()
    first.accuracy(WALK[0], 99)  # what happens after saving must not matter
    second = Retrainer(trained, NOISY, CONFIG, mode)
    second.accuracy(WALK[3], 7)  # nor what the object did before
    second.restore(saved)
    assert [second.accuracy(WALK[i], i) for i in range(stop, len(WALK))] == wanted[stop:]
    if mode == "carried":
        assert second.state() == whole.state()
    else:
        assert second.cache == whole.cache


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_a_damaged_state_is_refused_and_changes_nothing(trained: Pretrained, damage: bytes | None) -> None:
    trainer = Retrainer(trained, NOISY, CONFIG, "carried")
    saved = trainer.state()
    with pytest.raises(ValueError, match="saved training state is damaged"):
        trainer.restore(saved[: len(saved) // 2] if damage is None else damage)
    assert trainer.state() == saved


def test_a_state_of_another_run_is_refused(trained: Pretrained) -> None:
    saved = Retrainer(trained, NOISY, CONFIG, "carried").state()
    for other in (
        Retrainer(trained, NOISY, CONFIG, "restarted"),
        Retrainer(trained, NOISY, CONFIG, "carried", seed=2),
        Retrainer(trained, LOCAL, CONFIG, "carried"),
        Retrainer(trained, NOISY, replace(CONFIG, learning_rate=0.01), "carried"),
    ):
        with pytest.raises(ValueError, match="belongs to another configuration"):
            other.restore(saved)


def test_baselines_do_not_disturb_the_run(trained: Pretrained) -> None:
    wanted = run(trained, "carried")
    trainer = Retrainer(trained, NOISY, CONFIG, "carried")
    found = [trainer.accuracy(tried, i) for i, tried in enumerate(WALK[:2])]
    baselines = trainer.baseline(), trainer.retrained_baseline()
    found += [trainer.accuracy(tried, i) for i, tried in enumerate(WALK[2:], start=2)]
    assert found == wanted
    assert baselines == (trainer.baseline(), trainer.retrained_baseline())


def test_baseline_is_the_pretrained_network_tested_on_the_local_set(trained: Pretrained) -> None:
    clean = LocalData(DATA.test_images, DATA.test_labels, DATA.test_images, DATA.test_labels, 0.0, "all test images")
    assert Retrainer(trained, clean, CONFIG).baseline() == trained.accuracy
    restarted = Retrainer(trained, NOISY, CONFIG, "restarted")
    assert restarted.retrained_baseline() == restarted.accuracy(WALK[0], 0)


def test_bits_that_do_not_suit_the_network_change_nothing(trained: Pretrained) -> None:
    trainer = Retrainer(trained, NOISY, CONFIG, "carried")
    saved = trainer.state()
    with pytest.raises(ValueError, match="7 weight bits for 8 quantised layers"):
        trainer.accuracy(policy((8,) * 7), 0)
    assert trainer.state() == saved


def test_an_unknown_mode_lists_those_there_are(trained: Pretrained) -> None:
    with pytest.raises(ValueError, match="one of carried, restarted, not 'kept'"):
        Retrainer(trained, NOISY, CONFIG, "kept")  # type: ignore[arg-type]


BETTER = replace(CONFIG, activation_range="lsq", fold_batch_norm=True, lr_schedule="k-decay", lr_k=3.0)


@pytest.mark.parametrize("mode", ["carried", "restarted"])
def test_better_retraining_repeats_and_resumes_bit_for_bit(trained: Pretrained, mode: RetrainingMode) -> None:
    whole = Retrainer(trained, NOISY, BETTER, mode)
    wanted = [whole.accuracy(tried, i) for i, tried in enumerate(WALK)]
    first = Retrainer(trained, NOISY, BETTER, mode)
    assert [first.accuracy(WALK[i], i) for i in range(2)] == wanted[:2]
    second = Retrainer(trained, NOISY, BETTER, mode)
    second.restore(first.state())
    assert [second.accuracy(WALK[i], i) for i in range(2, 5)] == wanted[2:]
    assert wanted != run(trained, mode)


@pytest.mark.parametrize("change", [{"activation_range": "lsq"}, {"fold_batch_norm": True}, {"lr_schedule": "cosine"}])
def test_each_better_retraining_changes_the_weights_and_refuses_anothers_state(
    trained: Pretrained, change: dict[str, Any]
) -> None:
    plain, other = Retrainer(trained, NOISY, CONFIG), Retrainer(trained, NOISY, replace(CONFIG, **change))
    for trainer in (plain, other):
        trainer.accuracy(WALK[1], 0)
    weights = [t.network(WALK[1], 1)[0].state_dict()["classifier.0.weight"] for t in (plain, other)]
    assert not torch.equal(*weights)
    with pytest.raises(ValueError, match="belongs to another configuration"):
        other.restore(plain.state())


def test_folding_before_retraining_starts_from_the_same_network(trained: Pretrained) -> None:
    plain = Retrainer(trained, LOCAL, CONFIG).baseline()
    folded = Retrainer(trained, LOCAL, replace(CONFIG, fold_batch_norm=True))
    assert folded.baseline() == pytest.approx(plain, abs=0.051)  # of 20 images, one may tip over
    assert not any("running_mean" in name for name in folded.network(WALK[0])[0].state_dict())


def test_the_network_for_export_is_the_one_whose_accuracy_was_measured(trained: Pretrained) -> None:
    trainer, again = (Retrainer(trained, NOISY, CONFIG, "carried") for _ in range(2))
    wanted = [trainer.accuracy(tried, i) for i, tried in enumerate(WALK[:3])]
    for i, tried in enumerate(WALK[:2]):
        again.accuracy(tried, i)
    network, accuracy = again.network(WALK[2], 2)
    images, labels = again.test_images()
    right = (network(torch.from_numpy(images)).argmax(1).numpy() == labels).mean()
    assert accuracy == wanted[2] == pytest.approx(float(right))
    assert again.network(WALK[0])[1] == trainer.retrained_baseline()  # afresh, whatever went before
    cached = Retrainer(trained, NOISY, CONFIG, "restarted")
    assert cached.accuracy(WALK[1], 0) == cached.network(WALK[1], 5)[1]


# --- loss and step hook ------------------------------------------------------------------------------------


def plain(**hooks: Any) -> nn.Module:
    """A small network after two epochs of 3 batches of 4 images and one of a single image, which is left out."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(1024, 2))
    images, labels = tensors(DATA.train_images[:13], DATA.train_labels[:13])
    train(model, images, labels, CONFIG, 2, 4, 0.1, torch.Generator().manual_seed(1), "cosine", **hooks)
    return model


def test_the_hook_is_told_of_every_step_and_changes_nothing_by_itself() -> None:
    seen: list[StepInfo] = []
    rates: list[float] = []

    def on_step(step: StepInfo) -> None:
        assert step.model.training
        seen.append(step)
        rates.append(step.optimiser.param_groups[0]["lr"])

    hooked = plain(on_step=on_step)
    assert [(step.epoch, step.step, step.steps) for step in seen] == [
        (0, 0, 8), (0, 1, 8), (0, 2, 8), (1, 4, 8), (1, 5, 8), (1, 6, 8),
    ]  # fmt: skip
    assert rates[0] == 0.1 and sorted(set(rates), reverse=True) == rates  # those of the cosine
    assert torch.equal(hooked[1].weight, plain()[1].weight)


def test_another_loss_is_what_is_minimised() -> None:
    assert torch.equal(plain(loss=nn.CrossEntropyLoss())[1].weight, plain()[1].weight)
    smoothed = plain(loss=nn.CrossEntropyLoss(label_smoothing=0.3))
    assert not torch.equal(smoothed[1].weight, plain()[1].weight)


class TwoPaths(nn.Module):
    """Two ways to the logits, mixed by the softmax of two logits of its own: what a differentiable search trains."""

    def __init__(self) -> None:
        super().__init__()
        self.paths = nn.ModuleList(nn.Sequential(nn.Flatten(), nn.Linear(1024, 2)) for _ in range(2))
        self.choice = nn.Parameter(torch.zeros(2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        shares = self.choice.softmax(0)
        return torch.stack([share * path(images) for share, path in zip(shares, self.paths, strict=True)]).sum(0)


@pytest.mark.parametrize("cheaper", [0, 1])
def test_a_search_adds_costs_of_its_parameters_and_freezes_them_at_first(cheaper: int) -> None:
    """Two functions over the one loop: the cheaper path wins, once its parameters may learn."""
    torch.manual_seed(1)
    model, chosen = TwoPaths(), []
    latency_ms = torch.tensor([1.0, 5.0] if cheaper == 0 else [5.0, 1.0])

    def on_step(step: StepInfo) -> None:
        model.choice.requires_grad_(step.step >= step.steps // 2)
        chosen.append(model.choice.detach().clone())

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, labels) + (model.choice.softmax(0) * latency_ms).sum()

    images, labels = tensors(DATA.train_images, DATA.train_labels)
    generator = torch.Generator().manual_seed(1)
    train(model, images, labels, CONFIG, 4, 20, 0.1, generator, loss=loss, on_step=on_step)
    assert len(chosen) == 32 and all(torch.equal(some, torch.zeros(2)) for some in chosen[:17])
    assert model.choice.softmax(0)[cheaper].item() > 0.9
    assert float((model(images).argmax(1) == labels).float().mean()) > 0.9


# --- precision -------------------------------------------------------------------------------------------


HALF = replace(CONFIG, precision="bfloat16")


@pytest.fixture
def any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a processor without kernels for bfloat16 train in it all the same: slowly, but by the same rules."""
    try:
        check_precision("bfloat16", torch.device("cpu"))
    except ValueError:
        for module in ("pretraining", "retrainer"):
            monkeypatch.setattr(f"algo.nets.train.{module}.check_precision", lambda precision, device: None)


@pytest.mark.usefixtures("any_processor")
def test_training_in_bfloat16_learns_repeats_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    first, again = (pretrain(DATA, HALF, make_model) for _ in range(2))
    assert first.accuracy > 0.9 and weights_of(first) == weights_of(again)
    assert {value.dtype for value in first.state.values() if value.is_floating_point()} == {torch.float32}
    whole, begun, resumed = (Retrainer(first, NOISY, HALF) for _ in range(3))
    wanted = [whole.accuracy(tried, i) for i, tried in enumerate(WALK)]
    assert [begun.accuracy(WALK[i], i) for i in range(2)] == wanted[:2]
    resumed.restore(begun.state())
    assert [resumed.accuracy(WALK[i], i) for i in range(2, 5)] == wanted[2:]


@pytest.mark.usefixtures("any_processor")
def test_the_precision_changes_weights_and_refuses_anothers_state(trained: Pretrained) -> None:
    plain, half = Retrainer(trained, NOISY, CONFIG), Retrainer(trained, NOISY, HALF)
    weights = [t.network(WALK[1], 0)[0].state_dict()["classifier.0.weight"] for t in (plain, half)]
    assert not torch.equal(*weights) and torch.allclose(*weights, atol=0.05)
    with pytest.raises(ValueError, match="belongs to another configuration"):
        half.restore(plain.state())


@pytest.mark.usefixtures("any_processor")
def test_bfloat16_refuses_more_bits_than_it_can_tell_apart(trained: Pretrained) -> None:
    half = Retrainer(trained, NOISY, HALF)
    for wide in (Policy((9,) * 8, (8,) * 8), Policy((8,) * 8, (8,) * 7 + (16,))):
        with pytest.raises(ValueError, match=r"bfloat16 cannot tell apart the levels of (9|16) bits.*--precision"):
            half.accuracy(wide, 0)


def test_a_device_without_bfloat16_is_named() -> None:
    with pytest.raises(ValueError, match="cannot train in bfloat16 on meta: take --precision float32"):
        check_precision("bfloat16", torch.device("meta"))
    check_precision("float32", torch.device("meta"))


def test_keys_of_float32_are_those_of_earlier_versions_and_bfloat16_has_its_own() -> None:
    torch.manual_seed(1)
    keys = {c.precision: _pretraining_key(DATA, c, 1, make_model(), torch.device("cpu")) for c in (CONFIG, HALF)}
    assert keys["float32"] != keys["bfloat16"]
    assert "precision" not in repr(CONFIG) and repr(HALF).endswith(", threads=1, precision='bfloat16')")
    assert "precision" not in CONFIG.described() and HALF.described()["precision"] == "bfloat16"


# --- devices -----------------------------------------------------------------------------------------------


def test_training_follows_its_model_to_another_device() -> None:
    """The meta device computes shapes only, and refuses a tensor that was left on the CPU."""
    device = torch.device("meta")
    model = VGG8(2, 1, 2).to(device)
    images, labels = tensors(DATA.train_images[:8], DATA.train_labels[:8], device)
    train(model, images, labels, CONFIG, 1, 4, 0.1, torch.Generator().manual_seed(1), "k-decay")
    assert {value.device.type for value in model.state_dict().values()} == {"meta"}


def test_a_gpu_is_taken_when_there_is_one_and_the_variable_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    for there, wanted in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        assert training_device().type == wanted
    monkeypatch.setenv(VARIABLE, "meta")
    assert training_device().type == "meta"
    for wrong in ("gpu", "cuda:99"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(ValueError, match=f"{VARIABLE}={wrong} is not a device that works here"):
            training_device()


def test_a_network_pretrained_on_a_gpu_is_cached_as_another(trained: Pretrained) -> None:
    torch.manual_seed(1)
    model = VGG8(2, 1, 2)
    keys = {kind: _pretraining_key(DATA, CONFIG, 1, model, torch.device(kind)) for kind in ("cpu", "cuda")}
    assert keys["cpu"] != keys["cuda"] and trained.key == keys[training_device().type]


def test_a_network_of_ones_own_is_trained_and_retrained(tmp_path: Path) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 3, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(147, 2))

    own = pretrain(DATA, CONFIG, make, 1, tmp_path)
    trainer = Retrainer(own, LOCAL, CONFIG, "restarted")
    assert trainer.layers == 2
    assert trainer.accuracy(Policy((4, 8), (8, 8), 0), 0) > 0.7
    assert pretrain(DATA, CONFIG, make, 1, tmp_path).cached
