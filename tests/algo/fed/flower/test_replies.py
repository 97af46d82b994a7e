"""What clients say of themselves is checked before the server uses it: a bad reply must not end a run."""

import json

import pytest

pytest.importorskip("flwr", reason="needs the packages of rlu-cosim[fed]")

from algo.fed.flower.transport import finished_in, index_in

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
