"""A blob is the message that was packed, or it is refused with the reason."""

import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.fed.wire import SKIPPED, Message, WireError

DIGEST = b"12345678"
GOOD = Message(3, DIGEST, 7, 6, 2, 600, (0.1234, None), (0, 5, SKIPPED), b"payload")

accuracies = st.none() | st.integers(0, 10_000).map(lambda parts: parts / 10_000)
messages = st.builds(
    Message, st.integers(0, 255), st.just(DIGEST), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1),
    st.integers(0, 65535), st.integers(0, 2**32 - 1), st.tuples(accuracies, accuracies),
    st.lists(st.integers(0, 255), max_size=30).map(tuple), st.binary(max_size=100),
)  # fmt: skip


@given(messages)
def test_a_message_arrives(message):
    blob = message.pack()
    assert Message.unpack(blob, DIGEST, len(message.options), 100) == message
    assert len(blob) == 44 + len(message.options) + len(message.payload)


@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (b"", "at least 44 bytes, not 0"),
        (b"X" * 53, "begins with b'RLUF'"),
        (GOOD.pack() + bytes(200), "at most 147 bytes here"),
        (GOOD.pack()[:-1], "it has 53 bytes, and says 54"),
        (GOOD.pack()[:45], "we have 3"),
        (GOOD.pack()[:4] + b"\x02\x00" + GOOD.pack()[6:], "format is version 2, and ours 1: update the older side"),
        (GOOD.pack()[:-5] + b"?" + GOOD.pack()[-4:], "checksum"),
        (replace(GOOD, digest=b"another ").pack(), "it is of another network"),
        (replace(GOOD, options=(0, 5)).pack(), "it says 2 blocks"),
    ],
)
def test_what_is_wrong_is_said(blob, said):
    with pytest.raises(WireError, match=said):
        Message.unpack(blob, DIGEST, 3, 100)


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_anything_is_refused(blob):
    with pytest.raises(WireError):
        Message.unpack(blob, DIGEST, 3, 100)


@given(st.integers(0, 53), st.integers(0, 255))
def test_no_changed_byte_goes_unnoticed(place, value):
    blob = bytearray(GOOD.pack())
    if blob[place] != value:
        blob[place] = value
        with pytest.raises(WireError):
            Message.unpack(bytes(blob), DIGEST, 3, 100)


def test_an_impossible_accuracy_is_refused():
    blob = bytearray(GOOD.pack())[:-4]
    blob[30:32] = (10_001).to_bytes(2, "little")
    with pytest.raises(WireError, match="an accuracy is at most 10000 of 10000, not 10001"):
        Message.unpack(bytes(blob) + zlib.crc32(blob).to_bytes(4, "little"), DIGEST, 3, 100)
