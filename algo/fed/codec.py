"""How values become a payload, and back, exactly: what is decoded is the same at the sender and at the receiver.

What is in a payload: docs/understand/faqs.md, Messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from algo.fed.slices import Floats
from algo.fed.wire import WireError

Ints = NDArray[np.int32]


class Codec(Protocol):
    """Values of slices to bytes and back.

    Attributes:
        number: in messages.
        needs_reference: whether it sends differences to one.
    """

    number: ClassVar[int]
    needs_reference: ClassVar[bool]

    def encode(self, values: Sequence[Floats], groups: Sequence[int], references: Sequence[Floats]) -> bytes:
        """The payload.

        Args:
            values: of every slice, finite.
            groups: for every slice, the number of its tensor: 0 for the first one, rising by at most 1.
            references: what the receiver knows of every slice; not used unless ``needs_reference``.
        """

    def decode(self, payload: bytes, groups: Sequence[int], references: Sequence[Floats]) -> list[Floats]:
        """The values; ``references`` give their numbers.

        Raises:
            WireError: for a payload of other lengths, or with values that are not finite.
        """

    def most_bytes(self, counts: Sequence[int], groups: int) -> int:
        """Bytes that no payload of slices with these numbers of values exceeds."""

    def scale_bytes(self, payload: bytes, groups: Sequence[int]) -> int:
        """How many of a payload's bytes say how to read the others: ranges, steps, frequencies."""


class Float32:
    """As it is."""

    number: ClassVar[int] = 1
    needs_reference: ClassVar[bool] = False

    def encode(self, values: Sequence[Floats], groups: Sequence[int], references: Sequence[Floats]) -> bytes:
        """See `Codec`."""
        return b"".join(own.astype("<f4").tobytes() for own in values)

    def decode(self, payload: bytes, groups: Sequence[int], references: Sequence[Floats]) -> list[Floats]:
        """See `Codec`."""
        counts = [len(own) for own in references]
        _check_length(payload, 4 * sum(counts))
        return _finite(np.split(np.frombuffer(payload, "<f4").astype(np.float32), np.cumsum(counts)[:-1]))

    def most_bytes(self, counts: Sequence[int], groups: int) -> int:
        """See `Codec`."""
        return 4 * sum(counts)

    def scale_bytes(self, payload: bytes, groups: Sequence[int]) -> int:
        """See `Codec`."""
        return 0


class Chapter:
    """Absolute integers of 16 bits: Norm(w) = (w - w_min) / (w_max - w_min), rounded, and back (chapter 4)."""

    number: ClassVar[int] = 2
    needs_reference: ClassVar[bool] = False
    _MOST = 2**16 - 1

    def encode(self, values: Sequence[Floats], groups: Sequence[int], references: Sequence[Floats]) -> bytes:
        """See `Codec`."""
        limits, codes = [], []
        for own in values:
            low, high = (np.float32(own.min()), np.float32(own.max())) if len(own) else (np.float32(0), np.float32(0))
            spread = float(high) - float(low)
            parts = (own.astype(np.float64) - float(low)) / spread if spread > 0 else np.zeros(len(own))
            limits.append(np.array([low, high], "<f4").tobytes())
            codes.append(np.rint(parts * self._MOST).astype("<u2").tobytes())
        return b"".join(limits + codes)

    def decode(self, payload: bytes, groups: Sequence[int], references: Sequence[Floats]) -> list[Floats]:
        """See `Codec`."""
        counts = [len(own) for own in references]
        _check_length(payload, 8 * len(counts) + 2 * sum(counts))
        limits = np.frombuffer(payload[: 8 * len(counts)], "<f4").astype(np.float64).reshape(-1, 2)
        codes = np.split(np.frombuffer(payload[8 * len(counts) :], "<u2").astype(np.float64), np.cumsum(counts)[:-1])
        return _finite(
            [
                (low + (high - low) * (own / self._MOST)).astype(np.float32)
                for (low, high), own in zip(limits, codes, strict=True)
            ]
        )

    def most_bytes(self, counts: Sequence[int], groups: int) -> int:
        """See `Codec`."""
        return 8 * len(counts) + 2 * sum(counts)

    def scale_bytes(self, payload: bytes, groups: Sequence[int]) -> int:
        """See `Codec`."""
        return 8 * len(groups)


class ChapterWidths:
    """What FedNAS+EDD sends by the chapter's count: every value at 16, at 8 and at 4 bits, so 28 bits.

    Receivers need the 16 bits alone: the others are the same, rounded to 8 and to 4. The codec is for the comparison
    that the chapter makes. With `Chapter` the same method sends 16 bits a value.
    """

    number: ClassVar[int] = 4
    needs_reference: ClassVar[bool] = False

    def encode(self, values: Sequence[Floats], groups: Sequence[int], references: Sequence[Floats]) -> bytes:
        """See `Codec`."""
        payload = Chapter().encode(values, groups, references)
        eight, four = self._narrow(payload[8 * len(values) :])
        return payload + eight + four

    def decode(self, payload: bytes, groups: Sequence[int], references: Sequence[Floats]) -> list[Floats]:
        """See `Codec`."""
        count, limits = sum(len(own) for own in references), 8 * len(references)
        _check_length(payload, self._bytes(count, len(references)))
        whole = limits + 2 * count
        if payload[whole:] != b"".join(self._narrow(payload[limits:whole])):
            raise WireError("values of 8 and 4 bits are not those of 16 bits")
        return Chapter().decode(payload[:whole], groups, references)

    def most_bytes(self, counts: Sequence[int], groups: int) -> int:
        """See `Codec`."""
        return self._bytes(sum(counts), len(counts))

    def scale_bytes(self, payload: bytes, groups: Sequence[int]) -> int:
        """See `Codec`."""
        return 8 * len(groups)

    @staticmethod
    def _bytes(count: int, slices: int) -> int:
        return 8 * slices + 3 * count + (count + 1) // 2

    @staticmethod
    def _narrow(codes: bytes) -> tuple[bytes, bytes]:
        """The same values at 8 bits, and at 4 bits, two in a byte."""
        whole = np.frombuffer(codes, "<u2").astype(np.uint32)
        eight, four = (
            np.minimum((whole + half) >> shift, most) for half, shift, most in ((128, 8, 255), (2048, 12, 15))
        )
        pairs = np.append(four, 0)[: len(four) + len(four) % 2].astype(np.uint8)
        return eight.astype(np.uint8).tobytes(), (pairs[::2] | pairs[1::2] << 4).tobytes()


class Differences:
    """Differences to a reference, as multiples of a step for each tensor, range coded (`constriction`).

    A payload is the highest multiple (a byte), the step of every tensor (two bytes: the upper half of a float32), how
    frequent each multiple is (two bytes each), and the range coder's words.

    Args:
        bits: the step is 8 · 2^-bits of the root of the mean square of a tensor's differences. So 3 bits make a step as
            long as that, and each bit more halves it. More than 0, at most 12.
    """

    number: ClassVar[int] = 3
    needs_reference: ClassVar[bool] = True
    #: The highest multiple; what is beyond is left to the next round, as all that rounding loses.
    _MOST = 127
    _SCALE = 2**16 - 1
    #: Words of the range coder that no symbol exceeds, for no frequency is below 1 in 2^24; and its last words.
    _WORDS, _ENDS = 24 / 32, 4

    def __init__(self, bits: float) -> None:
        if not 0 < bits <= 12:
            raise ValueError(f"bits of differences must be above 0 and at most 12, not {bits:g}")
        self.bits = bits

    def encode(self, values: Sequence[Floats], groups: Sequence[int], references: Sequence[Floats]) -> bytes:
        """See `Codec`."""
        differences = [own.astype(np.float64) - known for own, known in zip(values, references, strict=True)]
        count = groups[-1] + 1 if groups else 0
        squares, numbers = np.zeros(count), np.zeros(count)
        for group, own in zip(groups, differences, strict=True):
            squares[group] += float(own @ own)
            numbers[group] += len(own)
        rms = np.sqrt(squares / np.maximum(numbers, 1))
        steps = _short(8 * 2.0**-self.bits * rms)
        multiples = [
            np.rint(own / steps[group]).clip(-self._MOST, self._MOST).astype(np.int32)
            if steps[group] > 0
            else np.zeros(len(own), np.int32)
            for group, own in zip(groups, differences, strict=True)
        ]
        flat = np.concatenate(multiples) if multiples else np.zeros(0, np.int32)
        most = int(np.abs(flat).max(initial=0))
        frequencies = self._frequencies(np.bincount(flat + most, minlength=2 * most + 1))
        words = self._coded(flat + most, frequencies)
        head = bytes([most]) + (steps.view("<u4") >> 16).astype("<u2").tobytes() + frequencies.astype("<u2").tobytes()
        return head + words.astype("<u4").tobytes()

    def decode(self, payload: bytes, groups: Sequence[int], references: Sequence[Floats]) -> list[Floats]:
        """See `Codec`."""
        count = groups[-1] + 1 if groups else 0
        if not payload or payload[0] > self._MOST:
            raise WireError("a payload of differences begins with its highest multiple, at most 127")
        most = payload[0]
        start = 1 + 2 * count + 2 * (2 * most + 1)
        if len(payload) < start or (len(payload) - start) % 4:
            raise WireError(f"a payload of differences has {start} bytes and whole words, not {len(payload)} bytes")
        steps = (np.frombuffer(payload[1 : 1 + 2 * count], "<u2").astype(np.uint32) << 16).view(np.float32)
        if not (np.isfinite(steps) & (steps >= 0)).all():
            raise WireError("a step is negative, or not a finite number")
        frequencies = np.frombuffer(payload[1 + 2 * count : start], "<u2").astype(np.int64)
        words = np.frombuffer(payload[start:], "<u4").astype(np.uint32)
        counts = [len(own) for own in references]
        if not frequencies.any():
            raise WireError("no multiple has a frequency")
        flat = self._decoded(words, frequencies, sum(counts)) - most
        return _finite(
            [
                known + steps[group] * own.astype(np.float32)
                for group, known, own in zip(groups, references, np.split(flat, np.cumsum(counts)[:-1]), strict=True)
            ]
        )

    def most_bytes(self, counts: Sequence[int], groups: int) -> int:
        """See `Codec`."""
        words = int(self._WORDS * sum(counts)) + self._ENDS
        return 1 + 2 * groups + 2 * (2 * self._MOST + 1) + 4 * words

    def scale_bytes(self, payload: bytes, groups: Sequence[int]) -> int:
        """See `Codec`."""
        return 1 + 2 * (groups[-1] + 1 if groups else 0) + 2 * (2 * payload[0] + 1)

    def _frequencies(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Counts in 16 bits; what occurs has at least 1."""
        highest = max(1, int(counts.max(initial=0)))
        scaled = counts * min(1.0, self._SCALE / highest)
        found: NDArray[np.int64] = np.where(counts > 0, np.maximum(1, np.rint(scaled)), 0).astype(np.int64)
        if not found.any():
            found[len(found) // 2] = 1
        return found

    @staticmethod
    def _model(frequencies: NDArray[np.int64]) -> object:
        import constriction

        return constriction.stream.model.Categorical(
            (frequencies / frequencies.sum()).astype(np.float32), perfect=False
        )

    def _coded(self, symbols: Ints, frequencies: NDArray[np.int64]) -> NDArray[np.uint32]:
        import constriction

        if np.count_nonzero(frequencies) < 2:  # all alike: nothing to say, and a model needs two
            return np.zeros(0, np.uint32)
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(symbols.astype(np.int32), self._model(frequencies))
        found: NDArray[np.uint32] = encoder.get_compressed()
        return found

    def _decoded(self, words: NDArray[np.uint32], frequencies: NDArray[np.int64], count: int) -> Ints:
        import constriction

        if np.count_nonzero(frequencies) < 2:
            if len(words):
                raise WireError("all multiples are alike, and words follow")
            return np.full(count, frequencies.argmax(), np.int32)
        try:
            found: Ints = constriction.stream.queue.RangeDecoder(words).decode(self._model(frequencies), count)
        except Exception as error:  # constriction has no error of its own
            raise WireError(f"the range coder's words cannot be decoded: {error}") from None
        return found


def _short(steps: NDArray[np.float64]) -> Floats:
    """Steps with the upper half of a float32's bits: two bytes say them exactly."""
    found: Floats = (steps.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return found


def _check_length(payload: bytes, wanted: int) -> None:
    if len(payload) != wanted:
        raise WireError(f"the payload has {len(payload)} bytes, not {wanted}")


def _finite(values: list[Floats]) -> list[Floats]:
    if not all(np.isfinite(own).all() for own in values):
        raise WireError("values are not finite numbers")
    return values
