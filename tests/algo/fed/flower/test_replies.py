"""What clients say of themselves is checked before the server uses it: a bad reply must not end a run."""

import json

import pytest

pytest.importorskip("flwr", reason="needs the packages of rlu-cosim[fed]")

from algo.fed.flower.transport import GREET, FlowerTransport, finished_in, index_in

GOOD = {
    "client": 1, "images": 20, "preference": [1.0, 0.0, 0.0], "accuracy": 0.5, "tuned_accuracy": 0.75,
    "options": [[3, 6, 8], None], "latency_ms": 0.5, "size_bytes": 100,
}  # fmt: skip


def test_sound_replies_are_read():
    assert index_in(b'{"index": 2, "images": 5}', 3) == 2
    assert finished_in(json.dumps(GOOD).encode(), 1) == GOOD


@pytest.mark.parametrize("reply", [b"", b"[]", b"{}", b'{"index": "2"}', b'{"index": 3}', b'{"index": -1}', b"\xff"])
def test_a_greeting_of_another_form_is_refused(reply):
    with pytest.raises(ValueError):
        index_in(reply, 3)


BAD = [{}, GOOD | {"client": 2}, *(GOOD | {name: "?"} for name in GOOD)]


@pytest.mark.parametrize("reply", [b"", *(json.dumps(one).encode() for one in BAD)])
def test_a_last_reply_of_another_form_is_refused(reply):
    with pytest.raises(ValueError):
        finished_in(reply, 1)


class Nodes(FlowerTransport):
    """Node 1 is client 0; node 2 never says anything. Keeps what was asked: what, nodes, seconds."""

    def __init__(self, deadline_s):
        super().__init__(self, 2, b"", deadline_s, lambda text: None)
        self.asked = []

    def get_node_ids(self):
        return [1, 2]

    def _ask(self, kind, what, asked, seconds, on_reply):
        self.asked.append((what, set(asked), seconds))
        return {node: b'{"index": 0}' if what == GREET else b"learned" for node in asked if node == 1}


def test_a_client_that_says_nothing_leaves_time_for_the_others_and_is_asked_ever_more_rarely():
    nodes = Nodes(100.0)
    for _ in range(12):
        assert nodes.exchange({0: b"", 1: b""}, lambda count: None) == {0: b"learned", 1: "it is not connected"}
    greetings = [(asked, seconds) for what, asked, seconds in nodes.asked if what == GREET]
    assert [asked for asked, _ in greetings] == [{1, 2}, {2}, {2}] and all(seconds <= 50 for _, seconds in greetings)
    assert all(0 < seconds <= 100 for what, _, seconds in nodes.asked if what != GREET)
