"""What clients say of themselves is checked before the server uses it: a bad reply must not end a run."""

import json
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("flwr", reason="needs the packages of rlu-cosim[fed]")

from flwr.app import ConfigRecord, RecordDict

from algo.fed.flower.transport import ERROR, GREET, RECORD, FlowerTransport, _content, finished_in, index_in
from algo.fed.transport import NotSent
from algo.nas.space import Space, Stage

SPACE = Space("two", 4, 2, (Stage(6, 2),), 12)
DEEP = b"[" * 200_000

GOOD = {
    "client": 1, "images": 20, "preference": [1.0, 0.0, 0.0], "accuracy": 0.5, "tuned_accuracy": 0.75,
    "options": [[3, 6, 8], None], "latency_ms": 0.5, "size_bytes": 100,
}  # fmt: skip


def test_sound_replies_are_read():
    assert index_in(b'{"index": 2, "images": 5}', 3) == 2
    assert finished_in(json.dumps(GOOD).encode(), 1, SPACE) == GOOD


@pytest.mark.parametrize(
    "reply", [b"", b"[]", b"{}", b'{"index": "2"}', b'{"index": 3}', b'{"index": -1}', b"\xff", DEEP]
)
def test_a_greeting_of_another_form_is_refused(reply):
    with pytest.raises(ValueError):
        index_in(reply, 3)


BAD = [
    {}, GOOD | {"client": 2}, *(GOOD | {name: "?"} for name in GOOD), GOOD | {"images": 0}, GOOD | {"accuracy": 1.01},
    GOOD | {"tuned_accuracy": -0.01}, GOOD | {"latency_ms": -1.0}, GOOD | {"latency_ms": 1e999},
    GOOD | {"size_bytes": -1},
    GOOD | {"preference": []}, GOOD | {"preference": [2.0, 0.0, 0.0]}, GOOD | {"options": [None]},
    GOOD | {"options": [[1], None]}, GOOD | {"options": [[3, 6, 7], None]},
]  # fmt: skip


@pytest.mark.parametrize("reply", [b"", DEEP, *(json.dumps(one).encode() for one in BAD)])
def test_a_last_reply_of_another_form_is_refused(reply):
    with pytest.raises(ValueError):
        finished_in(reply, 1, SPACE)


class Nodes(FlowerTransport):
    """Node 1 is client 0; node 2 never says anything. Keeps what was asked: what, nodes, seconds."""

    def __init__(self, deadline_s):
        super().__init__(self, 2, b"", deadline_s, SPACE, lambda text: None)
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


def test_a_round_without_clients_waits_for_one_until_its_deadline():
    """Else a server whose network fails ends all its rounds at once."""
    nodes = Nodes(0.6)
    nodes.get_node_ids = lambda: []
    begun = time.monotonic()
    replies = nodes.exchange({0: b"", 1: b""}, lambda count: None)
    assert time.monotonic() - begun >= 0.6
    assert replies == {0: "it is not connected", 1: "it is not connected"}
    assert all(isinstance(own, NotSent) for own in replies.values())
    there = iter([[], [], [1]])
    late = Nodes(100.0)
    late.get_node_ids = lambda: next(there, [1])
    assert late.exchange({0: b"", 1: b""}, lambda count: None)[0] == b"learned"


def test_what_a_client_says_of_an_error_is_a_line():
    content = RecordDict({RECORD: ConfigRecord({ERROR: "one\ntwo\x1b[31m" + "x" * 1000})})
    said = _content(SimpleNamespace(has_error=lambda: False, content=content))
    assert said.startswith("one two [31mxxx") and len(said) == 300
