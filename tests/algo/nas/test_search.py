"""A search moves its choices to what is aimed at, goes on the same after it was saved, and stops when it diverges."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from algo.nas.batch_norm import batch_statistics
from algo.nas.config import AimConfig, LearningConfig
from algo.nas.limits import Limits
from algo.nas.scores import collapsed, judged, learned_scores, measured_scores, probabilities_of
from algo.nas.search import Diverged, Search
from algo.nas.sizes import sizes_of
from algo.nas.space import Option, Space, Stage
from algo.nas.supernet import SuperNet
from tests.algo.nas.tables import made_up

SPACE = Space("two", 4, 2, (Stage(4, 1), Stage(6, 1, 2)), 8)
TABLE = made_up(SPACE, (1, 16, 16))
SIZES = sizes_of(TABLE)
CONFIG = LearningConfig(epochs=4, warmup=1, batch_size=20, reach=1.8)


def part(seed, count=60):
    """Images of two classes, told apart by their brightness."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    return torch.randn(count, 1, 16, 16, generator=generator) + labels[:, None, None, None], labels


def search(config=CONFIG, aim=None, limit_ms=0.3, learned=None, paths="shared", limit_bytes=None):
    torch.manual_seed(1)
    network = SuperNet(SPACE, (1, 16, 16), 2, paths, config.bits_bias)
    aim = aim or AimConfig(latency="0.3ms")
    limits = None if limit_ms is None else Limits(TABLE, limit_ms, *((SIZES, limit_bytes) if limit_bytes else ()))
    return Search(network, TABLE, learned or part(1), part(2), config, aim, limits, 1)


def run(one):
    while not one.finished:
        one.epoch()
    return one


def test_a_named_latency_is_approached_and_nothing_else_than_weights_learns_in_warmup():
    low = TABLE.expected_ms(*[np.eye(n)[[0, 0]] for n in (4, 3)])
    one = search(aim=AimConfig(latency="0.3ms", pressure=50), limit_ms=low * 1.2)
    before = one.network.theta.detach().clone(), one.expected_ms()
    first = one.epoch()
    assert torch.equal(one.network.theta, before[0]) and first.expected_ms == pytest.approx(before[1])
    run(one)
    assert one.epochs[-1].expected_ms < 0.6 * before[1]
    assert one.epochs[-1].accuracy > 0.8
    assert one.epochs[-1].path_entropy < first.path_entropy == pytest.approx(2)


def test_a_named_size_is_approached():
    aim = AimConfig(latency="0.3ms", size="1KiB", pressure=50)
    free, small = (
        run(search(aim=aim, limit_ms=10.0, limit_bytes=limit)).network.probabilities() for limit in (None, SIZES.ends)
    )
    free_bytes, small_bytes = (
        float(SIZES.expected_bytes(*(part.detach().numpy() for part in both))) - SIZES.ends for both in (free, small)
    )
    assert small_bytes < 0.6 * free_bytes


def test_the_published_weights_trade_latency_for_loss():
    fast, right = (
        run(search(aim=AimConfig(mu=mu, nu=1 - mu), limit_ms=None)).epochs[-1].expected_ms for mu in (0.02, 0.98)
    )
    assert fast < 0.9 * right


@pytest.mark.parametrize("levels", ["single", "two"])
@pytest.mark.parametrize("paths", ["shared", "multi", "single"])
def test_a_saved_search_goes_on_to_the_same_end(paths, levels):
    config = dataclasses.replace(CONFIG, levels=levels, epochs=3, dropout=0.2)
    whole = run(search(config, paths=paths))
    half = search(config, paths=paths)
    for _ in range(2):  # the choices have learnt in the second
        half.epoch()
    again = search(config, paths=paths)
    again.restore(half.state())
    run(again)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    without = [dataclasses.replace(epoch, seconds=0) for epoch in whole.epochs]
    assert without == [dataclasses.replace(epoch, seconds=0) for epoch in again.epochs]


def test_with_two_levels_the_choices_learn_from_the_other_half():
    """The half that weights learn from says nothing about the choices then."""
    config = dataclasses.replace(CONFIG, levels="two", epochs=2, learning_rate=1e-12, weight_decay=0.0)
    images, labels = part(1)
    plain = run(search(config))
    other = run(search(config, learned=(images.flip(0), labels)))
    assert torch.allclose(plain.network.theta, other.network.theta, atol=1e-4)
    single = dataclasses.replace(config, levels="single")
    plain, other = run(search(single)), run(search(single, learned=part(9)))
    assert not torch.allclose(plain.network.theta, other.network.theta, atol=1e-4)


def test_a_search_can_be_shown_other_images():
    ours = search()
    ours.epoch()
    before = ours.mixed_accuracy()
    images, labels = part(2)
    ours.show((images[labels == 1], labels[labels == 1]), (images, 1 - labels))
    assert ours.mixed_accuracy() == pytest.approx(1 - before)
    while not ours.finished:
        ours.epoch()
    assert ours.mixed_accuracy() < 0.6 and bool((ours.network(images).argmax(1) == 1).float().mean() > 0.9)


def test_a_loss_that_is_no_number_stops_the_search():
    images, labels = part(1)
    images[7] = torch.nan
    with pytest.raises(Diverged, match="the loss of epoch 1 is nan after"):
        search(learned=(images, labels)).epoch()


@pytest.mark.parametrize(("images", "batch", "steps"), [(60, 20, 3), (60, 19, 4), (61, 20, 3), (60, 300, 1)])
def test_the_choices_reach_as_far_as_they_are_told(images, batch, steps):
    config = dataclasses.replace(CONFIG, batch_size=batch)
    one = search(config, learned=part(1, images))
    seen = []
    one.epoch(lambda done, of, loss: seen.append(of))
    [group] = one._choices.param_groups
    assert seen == [steps] * steps and group["lr"] * steps * 3 == pytest.approx(CONFIG.reach)


def test_a_state_that_is_not_finite_is_never_kept():
    config = dataclasses.replace(CONFIG, learning_rate=1e30, batch_size=60)
    with pytest.raises(Diverged, match="not finite numbers"):
        search(config).epoch()


def test_scores_are_what_the_loss_says():
    one = run(search())
    network = one.network
    images, labels = part(3, 100)
    scores = measured_scores(network, images, labels)
    assert scores.shape == (2, 12) and np.isfinite(scores).all()
    paths, bits = probabilities_of(network)
    assert (
        learned_scores(network).argmax(1) == [3 * p + b for p, b in zip(paths.argmax(1), bits.argmax(1), strict=True)]
    ).all()


def test_the_score_of_an_option_is_the_loss_of_the_network_that_has_it():
    space = Space("one", 4, 2, (Stage(4, 1),), 8)
    torch.manual_seed(1)
    network = SuperNet(space, (1, 16, 16), 2)
    images, labels = part(3, 100)
    with torch.no_grad(), batch_statistics(network):
        mixed = functional.cross_entropy(network(images), labels)
        losses = []
        for option in space.options:
            with network.fixed((option,)):
                losses.append(float(functional.cross_entropy(network(images), labels)))
    assert measured_scores(network, images, labels)[0] == pytest.approx(float(mixed) - np.array(losses), abs=1e-5)


def test_a_network_is_judged_with_statistics_of_its_own():
    one = run(search())
    images, labels = part(3, 100)
    architecture = SPACE.same(Option(3, 3, 8))
    first = judged(one.network, architecture, one._learned[0], images, labels, 3)
    assert first > 0.8
    with torch.no_grad():
        for name, buffer in one.network.named_buffers():
            if "running_mean" in name:
                buffer += 100
    assert judged(one.network, architecture, one._learned[0], images, labels, 3) == first


def test_a_collapse_is_said():
    assert collapsed(SPACE, SPACE.same(Option(3, 3, 4))) == "all blocks have kernel 3, expansion 3, bits 4"
    assert collapsed(SPACE, (Option(3, 3, 4), Option(3, 3, 8))) is None
    one_kernel = dataclasses.replace(SPACE, kernels=(3,))
    assert collapsed(one_kernel, one_kernel.same(Option(3, 6, 8))) == "all blocks have expansion 6, bits 8"
