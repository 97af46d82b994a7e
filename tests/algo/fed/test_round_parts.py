"""A round: both ends know the same, wrong replies do not count, and nothing is lost by stopping between rounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.fed.codec import Chapter, Differences, Float32
from algo.fed.learners import METHODS, Preference, Recipe
from algo.fed.round_parts import Client, Link, Server, groups_of
from algo.fed.slices import Layout, Slice
from algo.fed.wire import Message
from algo.nas.space import Space, Stage
from tests.algo.nas.tables import made_up

pytest.importorskip("constriction", reason="needs the packages of rlu-cosim[fed]")

SPACE = Space("two", 4, 2, (Stage(6, 2),), 12)
TABLE = made_up(SPACE, (1, 16, 16))
CODECS = {"float32": Float32, "chapter": Chapter, "differences": lambda: Differences(3)}


def learner(method="faqs", seed=1):
    torch.manual_seed(seed)
    return METHODS[method](TABLE, Preference(0.6, 0.2, 0.2))


def federation(method="faqs", codec="differences", clients=3):
    generator = torch.Generator().manual_seed(1)
    found = []
    for number in range(clients):
        images = torch.randn(40, 1, 16, 16, generator=generator)
        labels = torch.randint(0, 10, (40,), generator=generator)
        found.append(
            Client(number, learner(method), images, labels, CODECS[codec](), Recipe(choice_rate=0.2), 100 + number)
        )
    return Server(learner(method), clients, CODECS[codec]()), found


def one_round(server, clients, searching=True):
    return server.take({client.number: client.answer(server.message(client.number), searching) for client in clients})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("codec", CODECS)
def test_both_ends_know_the_same_after_every_round(method, codec):
    server, clients = federation(method, codec)
    before = [own.copy() for own in server.values]
    for _ in range(3):
        assert one_round(server, clients) == {}
    assert any(not np.array_equal(a, b) for a, b in zip(before, server.values, strict=True))
    for client, known in zip(clients, server._known, strict=True):
        assert known.options == client.learner.options()
        for ours, theirs in ((known.down, client._down), (known.up, client._up)):
            for a, b in zip(ours.references, theirs.references, strict=True):
                assert np.array_equal(a, b)


@pytest.mark.parametrize("method", METHODS)
def test_stopping_between_rounds_changes_nothing(method):
    server, clients = federation(method)
    one_round(server, clients)
    kept = server.state(), [client.state() for client in clients]
    kept = (kept[0], [{**own, "network": {n: v.clone() for n, v in own["network"].items()}} for own in kept[1]])
    for _ in range(2):
        one_round(server, clients)
    other_server, other_clients = federation(method)
    other_server.restore(kept[0])
    for client, own in zip(other_clients, kept[1], strict=True):
        client.restore(own)
    for _ in range(2):
        one_round(other_server, other_clients)
    assert other_server.round == server.round == 3
    assert all(np.array_equal(a, b) for a, b in zip(server.values, other_server.values, strict=True))
    for client, other in zip(clients, other_clients, strict=True):
        assert client.learner.options() == other.learner.options()


def test_wrong_replies_do_not_count_and_are_named():
    server, clients = federation(clients=6)
    replies = {client.number: client.answer(server.message(client.number)) for client in clients}
    good = Message.unpack(replies[0], server.learner.layout.digest, 2, 10**6)
    other = Server(learner(), 6, Differences(3))
    for number in range(6):
        other.message(number)
    replies[1] = replies[1][:-10]
    replies[2] = replace(good, round=5, client=2).pack()
    replies[3] = good.pack()
    replies[4] = replace(good, client=4, images=0).pack()
    replies[5] = replace(good, client=5, options=(200, 0)).pack()
    refused = server.take(replies)
    assert set(refused) == {1, 2, 3, 4, 5}
    for client, said in {
        2: "round 5, not 0",
        3: "client 0, not 3",
        4: "from no image",
        5: "option 200 is none",
    }.items():
        assert said in refused[client]
    other.take({0: replies[0]})
    assert all(np.array_equal(a, b) for a, b in zip(server.values, other.values, strict=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 3]))
def test_what_rounding_loses_is_sent_later(seed, bits):
    """What arrived in all, and what is still to be sent, are what was meant in all."""
    rng = np.random.default_rng(seed)
    layout = Layout({"a": (50,)}, [Slice("a", "all", np.arange(50))])
    zero = [np.zeros(50, np.float32)]
    link = Link(layout, Differences(bits), zero, feeds_back=True)
    meant, arrived = np.zeros(50), np.zeros(50)
    for _ in range(10):
        own = rng.normal(size=50).astype(np.float32)
        _, [decoded] = link.encode([0], [own])
        meant, arrived = meant + own, arrived + decoded
    assert np.allclose(meant, arrived + link._lost[0], atol=1e-4)
    assert np.abs(link._lost[0]).max() < np.abs(meant - 10 * rng.normal(size=50)).max() * 100


def test_groups_are_the_tensors_that_are_held():
    layout = Layout(
        {"a": (4,), "b": (2,), "c": (1,)},
        [Slice("a", "x", np.array([0, 1])), Slice("a", "y", np.array([2, 3])), Slice("b", "z", np.array([0, 1])),
         Slice("c", "w", np.array([0]))],
    )  # fmt: skip
    assert groups_of(layout, [0, 1, 2, 3]) == [0, 0, 1, 2]
    assert groups_of(layout, [1, 3]) == [0, 1]
