"""What is decoded is the same at both ends, and as near to what was meant as the codec says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.fed.codec import Chapter, ChapterWidths, Differences, Float32
from algo.fed.wire import WireError

pytest.importorskip("constriction", reason="needs the packages of rlu-cosim[fed]")

CODECS = [Float32(), Chapter(), ChapterWidths(), Differences(1), Differences(4), Differences(8)]


def made_up(seed, empty=False, spread=1.0):
    """Slices of four tensors, their tensors' numbers, and references."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0 if empty else 1, 60, 6)
    groups = [0, 0, 1, 2, 2, 3]
    sizes = spread * 10.0 ** rng.uniform(-6, 3, 4)
    values = [
        (sizes[group] * rng.laplace(size=count)).astype(np.float32) for group, count in zip(groups, counts, strict=True)
    ]
    references = [(own + 0.1 * rng.normal(size=len(own)) * np.abs(own)).astype(np.float32) for own in values]
    return values, groups, references


@pytest.mark.parametrize("codec", CODECS, ids=lambda one: f"{type(one).__name__}-{getattr(one, 'bits', '')}")
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), empty=st.booleans())
def test_what_is_decoded_is_near_and_the_same_everywhere(codec, seed, empty):
    values, groups, references = made_up(seed, empty)
    payload = codec.encode(values, groups, references)
    assert len(payload) <= codec.most_bytes([len(own) for own in values], 4)
    decoded = codec.decode(payload, groups, references)
    for own, known, reference in zip(values, decoded, references, strict=True):
        assert known.dtype == np.float32 and known.shape == own.shape
        if isinstance(codec, Float32):
            assert np.array_equal(known, own)
        elif isinstance(codec, (Chapter, ChapterWidths)) and len(own):
            assert np.abs(known - own).max() <= 0.51 * float(np.ptp(own)) / (2**16 - 1) + 1e-6 * np.abs(own).max()
        elif isinstance(codec, Differences):  # never further than the reference was, but for rounding
            assert np.linalg.norm(known - own) <= 1.001 * np.linalg.norm(reference - own) + 1e-30
    again = type(codec)(codec.bits) if isinstance(codec, Differences) else type(codec)()
    assert all(np.array_equal(a, b) for a, b in zip(decoded, again.decode(payload, groups, references), strict=True))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_each_bit_more_halves_the_step(seed):
    values, groups, references = made_up(seed)
    errors = []
    for bits in (4, 6):
        payload = Differences(bits).encode(values, groups, references)
        decoded = Differences(bits).decode(payload, groups, references)
        errors.append([np.abs(a - b).max() for a, b in zip(decoded, values, strict=True)])
        for group in range(4):
            own = [number for number, other in enumerate(groups) if other == group]
            meant = np.concatenate([values[number].astype(np.float64) - references[number] for number in own])
            step = 8 * 2.0**-bits * np.sqrt(np.mean(meant**2))
            got = np.concatenate([decoded[number] for number in own]) - np.concatenate([values[n] for n in own])
            told = (np.frombuffer(payload[1 + 2 * group : 3 + 2 * group], "<u2").astype(np.uint32) << 16).view(
                np.float32
            )
            assert step * (1 - 2.0**-7) <= float(told[0]) <= step * 1.000001
            largest = np.abs(np.concatenate([values[number] for number in own])).max()
            assert np.abs(got).max() <= 0.5 * step * 1.01 + 1e-6 * largest


def test_bits_a_value_are_near_their_entropy():
    rng = np.random.default_rng(1)
    values = [rng.laplace(0, 0.01, 200_000).astype(np.float32)]
    zero = [np.zeros(200_000, np.float32)]
    for bits in (1, 2, 3, 4):
        codec = Differences(bits)
        payload = codec.encode(values, [0], zero)
        _, counts = np.unique(codec.decode(payload, [0], zero)[0], return_counts=True)
        shares = counts / counts.sum()
        entropy = -(shares * np.log2(shares)).sum()
        assert len(payload) * 8 / 200_000 <= 1.02 * entropy


@pytest.mark.parametrize("codec", CODECS, ids=lambda one: f"{type(one).__name__}-{getattr(one, 'bits', '')}")
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_payload_from_anybody_is_decoded_or_refused(codec, data):
    values, groups, references = made_up(data.draw(st.integers(0, 1000)))
    good = codec.encode(values, groups, references)
    kind = data.draw(st.sampled_from(["short", "long", "changed", "anything"]))
    place = data.draw(st.integers(0, len(good) - 1))
    bad = {
        "short": good[:place],
        "long": good + bytes(data.draw(st.integers(1, 9))),
        "changed": good[:place] + bytes([data.draw(st.integers(0, 255))]) + good[place + 1 :],
        "anything": data.draw(st.binary(max_size=300)),
    }[kind]
    try:
        decoded = codec.decode(bad, groups, references)
    except WireError:
        return
    assert [own.shape for own in decoded] == [own.shape for own in values]
    assert all(np.isfinite(own).all() for own in decoded)


def test_bits_that_there_are_not_are_refused():
    for bits in (0, -1, 13, float("nan")):
        with pytest.raises(ValueError, match="bits of differences must be above 0 and at most 12"):
            Differences(bits)


@given(st.lists(st.integers(0, 2**16 - 1), min_size=2, max_size=40, unique=True))
def test_narrow_values_are_the_wide_ones_rounded(codes):
    """28 bits a value: 16, then 8, then 4, two in a byte."""
    codes = [0, 2**16 - 1, *codes]
    payload = ChapterWidths().encode([np.array(codes, np.float32)], [0], [np.zeros(len(codes), np.float32)])
    count = len(codes)
    assert len(payload) == 8 + 3 * count + (count + 1) // 2
    eight = list(payload[8 + 2 * count : 8 + 3 * count])
    four = [half for byte in payload[8 + 3 * count :] for half in (byte & 15, byte >> 4)][:count]
    assert eight == [min(255, (code + 128) // 256) for code in codes]
    assert four == [min(15, (code + 2048) // 4096) for code in codes]


def test_narrow_values_that_do_not_fit_the_wide_ones_are_refused():
    values = [np.arange(5, dtype=np.float32)]
    payload = bytearray(ChapterWidths().encode(values, [0], values))
    payload[-1] ^= 1
    with pytest.raises(WireError, match="values of 8 and 4 bits are not those of 16 bits"):
        ChapterWidths().decode(bytes(payload), [0], values)


@pytest.mark.parametrize(("codec", "scales"), [(Float32(), 0), (Chapter(), 24), (ChapterWidths(), 24)])
def test_what_says_how_to_read_values_is_counted(codec, scales):
    values = [np.arange(size, dtype=np.float32) for size in (5, 3, 2)]
    payload = codec.encode(values, [0, 0, 1], values)
    assert codec.scale_bytes(payload, [0, 0, 1]) == scales < len(payload)


def test_what_says_how_to_read_differences_is_counted():
    references = [np.zeros(size, np.float32) for size in (50, 30, 20)]
    values = [np.random.default_rng(1).normal(size=len(own)).astype(np.float32) for own in references]
    payload = Differences(3).encode(values, [0, 0, 1], references)
    assert Differences(3).scale_bytes(payload, [0, 0, 1]) == 1 + 2 * 2 + 2 * (2 * payload[0] + 1) < len(payload)
    assert (len(payload) - Differences(3).scale_bytes(payload, [0, 0, 1])) % 4 == 0
