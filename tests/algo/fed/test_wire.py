"""A blob is the message that was packed, or it is refused with the reason."""

import re
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.fed.wire import SKIPPED, Message, WireError
from tests.places import ROOT

DIGEST = b"12345678"
MAGIC_AS_NUMBER = int.from_bytes(b"RLUF", "little")
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
        (GOOD.pack()[:4] + b"\x03\x00" + GOOD.pack()[6:], "format is version 3, and ours 2: update the older side"),
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


def test_the_page_lists_every_byte_of_a_message():
    """Whoever writes a client in another language has the page alone."""
    page = (ROOT / "docs/understand/faqs.md").read_text()
    rows = re.findall(r"^\| ([0-9, ]+) \| ", page.partition("## Messages")[2].partition("Every length")[0], re.M)
    sizes = [int(number) for row in rows for number in row.split(",")]
    blob, place = replace(GOOD, accuracies=(0.5, 0.25)).pack(), 0
    wanted = [MAGIC_AS_NUMBER, 2, 3, 0, int.from_bytes(DIGEST, "little"), 7, 6, 2, 600, 5000, 2500, 3]
    for size, value in zip(sizes, wanted, strict=False):
        assert int.from_bytes(blob[place : place + size], "little") == value
        place += size
    assert sizes[len(wanted) :] == [4, 4] and place + 3 + 4 + len(GOOD.payload) + 4 == len(blob)
