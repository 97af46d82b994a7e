"""The page and ``layout.json`` are enough to write a client: another decoder has the same values to the last bit."""

import json

import numpy as np
import pytest

pytest.importorskip("constriction", reason="needs the packages of rlu-cosim[fed]")

from algo.fed.fresh import begin
from algo.fed.layout_file import layout_json
from algo.fed.server import Server
from algo.fed.wire import Message
from tests.algo.fed.other_client import OtherClient, read
from tests.algo.fed.test_rounds import CODECS, SPACE, client_of, learner

SEED = 5


def begun(learner_):
    begin(learner_, SEED)
    return learner_


def federation(method, codec):
    """As in a run: all have the fresh network of a seed."""
    clients = [client_of(number, method, codec, begun(learner(method))) for number in range(3)]
    return Server(begun(learner(method)), 3, CODECS[codec]()), clients


@pytest.mark.parametrize(
    ("method", "codec"),
    [("faqs", "differences"), ("faqs", "chapter"), ("faqs", "chapter-widths"), ("fedavg", "float32"),
     ("fedavg", "differences")],
)  # fmt: skip
def test_another_decoder_has_the_same_values(method, codec):
    server, clients = federation(method, codec)
    layout = json.loads(json.dumps(layout_json(server.learner, SPACE))) | {"codec": CODECS[codec]().number}
    others = [OtherClient(layout, SEED, method == "faqs") for _ in clients]
    assert others[0].digest().hex() == layout["digest"] == server.learner.layout.digest.hex()
    seen = set()
    for round_ in range(4):
        replies = {}
        for client, other in zip(clients, others, strict=True):
            blob = server.message(client.number)
            reply = client.answer(blob)
            other.pull(blob)
            seen.add(("pull", read(blob)["codec"]))
            assert all(np.array_equal(a, b) for a, b in zip(client.link.references, other.references, strict=True))
            message = Message.unpack(reply, server.learner.layout.digest, layout["blocks"], 10**6)
            held = server.learner.held(message.options)
            wanted = client.link.decoded(message.codec, held, message.payload)
            found = other.values(read(reply))
            seen.add(("push", message.codec))
            assert list(found) == held
            assert all(np.array_equal(found[n], own) for n, own in zip(held, wanted, strict=True))
            if round_ != 1 or client.number:  # client 0 gets a key frame in round 2
                replies[client.number] = reply
        server.take(replies)
    number = layout["codec"]
    assert seen == {("pull", number), ("push", number)} | ({("pull", 2)} if number == 3 else set())
