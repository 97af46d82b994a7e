"""A device whose answers are all compared with the golden model's while it is used."""

from __future__ import annotations

from collections.abc import Sequence

from rtl.spec.params import RLUParams
from rtl.spec.registers import ACTION_COUNT, POLICY
from sim.devices.device import READ, WRITE, Device, GoldenDevice, Op


class Disagreement(RuntimeError):
    """Two computations that must agree differ, such as a device and the golden model; the message says where."""


class ShadowedDevice:
    """Passes transactions to a device and to a golden model, and compares their answers.

    Attributes:
        compared: words compared so far.

    Args:
        device: the device in use.
        params: its parameters.
        used: the device may have been in use before its last reset, which does not change the memories. The golden
            model then begins with the policy and the action counts that it reads from them. (The host has to write
            or to clear the Q-table anyway.)
    """

    def __init__(self, device: Device, params: RLUParams, *, used: bool = False) -> None:
        self._device = device
        self._golden = GoldenDevice(params)
        self.compared = 0
        for window in (POLICY, ACTION_COUNT) if used else ():
            places = window.addresses(params.states)
            words = device.transact([Op(READ, place) for place in places])
            self._golden.transact([Op(WRITE, place, word) for place, word in zip(places, words, strict=True)])

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
        """Release the device."""
        self._device.close()
