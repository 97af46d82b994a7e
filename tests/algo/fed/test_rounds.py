"""A round: both ends know the same, wrong replies do not count, and nothing is lost by stopping between rounds."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from algo.fed import server as server_module
from algo.fed.aggregation import EARLIEST, FIRST
from algo.fed.client import Client, Schedule
from algo.fed.codec import Chapter, ChapterWidths, Differences, Float32
from algo.fed.config import FedConfig, MethodConfig
from algo.fed.federation import Federation
from algo.fed.learners import METHODS, Preference, Recipe
from algo.fed.link import groups_of
from algo.fed.server import Server
from algo.fed.slices import Layout, Slice
from algo.fed.threshold_net import tensors_of
from algo.fed.transport import InProcess, NotSent
from algo.fed.wire import LOST, Message, WireError
from algo.nas.space import SPACES, Space, Stage
from tests.algo.nas.tables import made_up

pytest.importorskip("constriction", reason="needs the packages of rlu-cosim[fed]")

SPACE = Space("two", 4, 2, (Stage(6, 2),), 12)
TABLE = made_up(SPACE, (1, 16, 16))
CODECS = {
    "float32": Float32,
    "chapter": Chapter,
    "chapter-widths": ChapterWidths,
    "differences": lambda: Differences(3),
}


def learner(method="faqs", seed=1):
    torch.manual_seed(seed)
    return METHODS[method](TABLE, Preference(0.6, 0.2, 0.2), MethodConfig())


def client_of(number, method="faqs", codec="differences", own=None):
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(60, 1, 16, 16, generator=generator)
    labels = torch.randint(0, 10, (60,), generator=generator)
    schedule = Schedule(Recipe(choice_rate=0.2))
    parts = (images[:40], labels[:40]), (images[40:], labels[40:])
    return Client(number, own or learner(method), *parts, CODECS[codec](), schedule, 100 + number)


def federation(method="faqs", codec="differences", clients=3, **more):
    found = [client_of(number, method, codec) for number in range(clients)]
    return Server(learner(method), clients, CODECS[codec](), **more), found


def one_round(server, clients):
    return server.take({client.number: client.answer(server.message(client.number)) for client in clients})[1]


def codec_in(blob):
    return Message.unpack(blob, blob[8:16], 2, 10**6).codec


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("codec", CODECS)
def test_both_ends_know_the_same_after_every_round(method, codec):
    server, clients = federation(method, codec)
    before = [own.copy() for own in server.values]
    for number in range(3):
        assert one_round(server, clients) == {}
        bases = {one.link.base for one in [*clients, *server._known]}
        assert bases == {number + 1}
    assert any(not np.array_equal(a, b) for a, b in zip(before, server.values, strict=True))
    for client, known in zip(clients, server._known, strict=True):
        assert known.options == client.learner.options()
        for a, b in zip(known.link.references, client.link.references, strict=True):
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
    server, clients = federation(clients=9)
    replies = {client.number: client.answer(server.message(client.number)) for client in clients}
    digest = server.learner.layout.digest
    good = Message.unpack(replies[0], digest, 2, 10**6)
    other = Server(learner(), 9, Differences(3))
    for number in range(9):
        other.message(number)
    replies[1] = replies[1][:-10]
    replies[2] = replace(good, round=5, client=2).pack()
    replies[3] = good.pack()
    replies[4] = replace(good, client=4, images=0).pack()
    replies[5] = replace(good, client=5, options=(200, 0)).pack()
    replies[6] = replace(good, client=6, base=0).pack()
    replies[7] = "it is not connected"
    del replies[8]
    counted, refused = server.take(replies)
    assert set(counted) == {0} and set(refused) == set(range(1, 9))
    for client, said in {
        2: "round 5, not 0",
        3: "client 0, not 3",
        4: "from no image",
        5: "option 200 is none",
        6: "base 0, not 1",
        7: "it is not connected",
        8: "no reply",
    }.items():
        assert said in refused[client]
    other.take({0: replies[0]})
    assert all(np.array_equal(a, b) for a, b in zip(server.values, other.values, strict=True))


@pytest.mark.parametrize("codec", CODECS)
def test_a_client_that_has_lost_its_state_gets_a_key_frame_and_goes_on(codec):
    server, clients = federation(codec=codec)
    with torch.no_grad():
        clients[1].learner.choices()[0][0] = 100.0  # no 5x5: the key frame lacks slices that are sent back
    one_round(server, clients)
    one_round(server, clients)
    clients[1] = client_of(1, codec=codec)
    refused = one_round(server, clients)
    if codec == "differences":  # the others need no references
        assert set(refused) == {1} and "gets a key frame in the next round" in refused[1]
        assert codec_in(server.message(1)) == Chapter.number and codec_in(server.message(0)) == Differences.number
        refused = one_round(server, clients)
    assert refused == {}
    assert codec_in(server.message(1)) == CODECS[codec]().number
    if codec == "differences":
        ours, theirs = server.link(1).references, clients[1].link.references
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_who_missed_a_round_gets_a_key_frame_and_what_it_had_learned_is_gone():
    server, clients = federation()
    one_round(server, clients)
    late = clients[2].answer(server.message(2))
    replies = {client.number: client.answer(server.message(client.number)) for client in clients[:2]}
    assert server.take(replies)[1] == {2: "no reply"}
    message = server.message(2)
    assert codec_in(message) == Chapter.number
    reply = clients[2].answer(message)
    assert codec_in(reply) == Differences.number
    others = {client.number: client.answer(server.message(client.number)) for client in clients[:2]}
    assert "it is of round 1, not 2" in server.take({**others, 2: late})[1][2]
    assert one_round(server, clients) == {}


def test_a_reply_to_an_unknown_base_has_no_payload():
    server, clients = federation()
    one_round(server, clients)
    reply = client_of(0).answer(server.message(0))
    assert codec_in(reply) == LOST and len(reply) < 60


def test_a_client_whose_training_diverges_is_named_and_recovers():
    server, clients = federation(codec="float32")
    clients[0].train[0][:] = 1e38
    replies = InProcess(clients, [TABLE] * 3).exchange({n: server.message(n) for n in range(3)}, lambda count: None)
    assert "not finite numbers after its training in round 1" in replies[0]
    assert set(server.take(replies)[1]) == {0}
    assert all(bool(value.isfinite().all()) for value in clients[0].learner.network.state_dict().values())
    clients[0].train = client_of(0).train
    assert one_round(server, clients) == {}


def changed(reply, server, factor):
    """The same reply with its update multiplied by a factor; codec float32."""
    layout = server.learner.layout
    message = Message.unpack(reply, layout.digest, 2, 10**7)
    link, held = server._known[message.client].link, server.learner.held(message.options)
    sent = dict(zip(*server._known[message.client].sent, strict=True))
    values = link.decoded(message.codec, held, message.payload)
    wrong = [
        sent[n] + np.float32(factor) * (own - sent[n]) if n in sent else own
        for n, own in zip(held, values, strict=True)
    ]
    return replace(message, payload=link.codec.encode(wrong, [], [])).pack()


@pytest.mark.parametrize(
    ("factor", "said"), [(1000, "times as long as the median one"), (-1, "its updates go against the others'")]
)
def test_a_hostile_client_is_named(factor, said):
    server, clients = federation("fedavg", "float32", clients=5)
    for client in clients:  # all learn the same, so all go the same way
        client.train = clients[0].train
    for number in range(5):
        replies = {client.number: client.answer(server.message(client.number)) for client in clients}
        replies[3] = changed(replies[3], server, factor)
        counted, refused = server.take(replies)
        if factor > 0 or number >= EARLIEST - 1:
            assert set(refused) == {3} and said in refused[3] and set(counted) == {0, 1, 2, 4}
        else:
            assert refused == {}


def test_directions_are_judged_by_the_first_rounds_alone(monkeypatch):
    """Later, honest clients go against the others, too; who is named by then stays named."""
    said = {0: 0.5, 1: 0.5, 2: 0.5, 3: -0.5}
    monkeypatch.setattr(server_module, "cosines", lambda layout, updates: {client: said[client] for client in updates})
    server, clients = federation("fedavg", "float32", clients=4)
    for number in range(FIRST + EARLIEST + 1):
        if number == FIRST:
            said.update({0: -0.5, 3: 0.5})
        _, refused = server.take({client.number: client.answer(server.message(client.number)) for client in clients})
        assert set(refused) == ({3} if number >= EARLIEST - 1 else set())


@pytest.mark.parametrize("codec", ["float32", "differences"])
def test_one_of_two_cannot_make_the_weights_endless(codec):
    server, clients = federation("fedavg", codec, clients=2)
    for _ in range(3):
        replies = {client.number: client.answer(server.message(client.number)) for client in clients}
        client = clients[1]
        message = Message.unpack(replies[1], server.learner.layout.digest, 2, 10**7)
        held = server.learner.held(message.options)
        huge = [np.full(len(own), 1e30, np.float32) for own in client.link.references]
        payload = client.link.encoded(client.link.codec, held, huge)[0]
        assert set(server.take({**replies, 1: replace(message, payload=payload).pack()})[1]) == {1}
    assert max(np.abs(own).max() for own in server.values) < 10


def test_a_round_that_has_no_next_one_is_refused():
    server, clients = federation()
    blob = server.message(0)
    message = Message.unpack(blob, server.learner.layout.digest, 2, 10**7)
    with pytest.raises(WireError, match="round 4294967295, and the last is 4294967294"):
        clients[0].answer(replace(message, round=2**32 - 1).pack())


class Nobody:
    """A transport whose client 0 is not there, and whose client 1 does not reply."""

    def exchange(self, messages, on_reply):
        return {0: NotSent("it is not connected"), 1: "no reply"}


def test_only_messages_that_were_sent_are_counted():
    config = FedConfig.of(clients=2, space="tiny")
    found = Federation(config, made_up(SPACES["tiny"]), Nobody()).round(time.monotonic)
    assert found.pulled_bytes[0] == 0 < found.pulled_bytes[1] and found.pushed_bytes == [0, 0]
    assert sum(found.parts.values()) == found.all_bytes == found.pulled_bytes[1]
    assert found.refused == {0: "it is not connected", 1: "no reply"}


def test_an_absurd_count_of_images_is_named():
    server, clients = federation(clients=4)
    replies = {client.number: client.answer(server.message(client.number)) for client in clients}
    message = Message.unpack(replies[2], server.learner.layout.digest, 2, 10**6)
    replies[2] = replace(message, images=10**9).pack()
    assert server.take(replies)[1] == {2: "it says 1000000000 images, and the median client 40"}
    replies = {client.number: client.answer(server.message(client.number)) for client in clients}
    message = Message.unpack(replies[1], server.learner.layout.digest, 2, 10**6)
    replies[1] = replace(message, images=50).pack()
    assert "it says 50 images, and said 40 before" in server.take(replies)[1][1]


@pytest.mark.parametrize("bits", [1, 3])
def test_what_rounding_loses_is_sent_later(bits):
    """What arrived in all, and what is still to be sent, are what was meant in all."""
    client = client_of(0)
    client.link.codec = Differences(bits)
    layout, network = client.learner.layout, client.learner.network
    held = client.learner.held(client.learner.options())
    before = [client.link.references[number].astype(np.float64) for number in held]
    meant, arrived = [0.0] * len(held), [0.0] * len(held)
    for _ in range(5):
        with torch.no_grad():
            for name, value in network.named_parameters():
                if not name.endswith("thresholds"):
                    value.add_(0.01 * torch.randn_like(value))
        own = layout.of(held, tensors_of(network, layout))
        decoded = client.link.decoded(Differences.number, held, client._payload())
        meant = [total + values - was for total, values, was in zip(meant, own, before, strict=True)]
        arrived = [total + values - was for total, values, was in zip(arrived, decoded, before, strict=True)]
    for number, wanted, found in zip(held, meant, arrived, strict=True):
        assert np.allclose(wanted, found + client._lost[number], atol=1e-4)
    assert any(np.abs(client._lost[number]).max() > 1e-4 for number in held)


def test_groups_are_the_tensors_that_are_held():
    layout = Layout(
        {"a": (4,), "b": (2,), "c": (1,)},
        [Slice("a", "x", np.array([0, 1])), Slice("a", "y", np.array([2, 3])), Slice("b", "z", np.array([0, 1])),
         Slice("c", "w", np.array([0]))],
    )  # fmt: skip
    assert groups_of(layout, [0, 1, 2, 3]) == [0, 0, 1, 2]
    assert groups_of(layout, [1, 3]) == [0, 1]
