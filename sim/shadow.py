"""A device whose every answer is checked against the golden model while it is used."""

from __future__ import annotations

from collections.abc import Sequence

from rtl.params import RLUParams

from .device import READ, Device, GoldenDevice, Op


class Disagreement(RuntimeError):
    """A device answered other than the golden model; the message says where."""


class ShadowedDevice:
    """Passes transactions on to a device and to a golden model beside it, and compares what they answer.

    Attributes:
        compared: words compared so far.

    Args:
        device: the device in use.
        params: what it is made from.
    """

    def __init__(self, device: Device, params: RLUParams) -> None:
        self._device = device
        self._golden = GoldenDevice(params)
        self.compared = 0

    def transact(self, ops: Sequence[Op]) -> list[int]:
        """Carry out ``ops`` on both; returns the words read. Raises Disagreement if they differ."""
        words = self._device.transact(ops)
        expected = self._golden.transact(ops)
        reads = [op for op in ops if op.kind == READ]
        for op, word, golden in zip(reads, words, expected, strict=True):
            if word != golden:
                raise Disagreement(
                    f"address 0x{op.address:04X} reads 0x{word:08X} from the RTL and "
                    f"0x{golden:08X} from the golden model; `rlu lockstep` finds the place"
                )
        self.compared += len(words)
        return words

    def close(self) -> None:
        """Let go of the device."""
        self._device.close()
