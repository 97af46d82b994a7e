"""Both devices behind the same tests: register rules, sticky errors, and that they agree on everything."""

import copy
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rtl.spec.params import RLUParams
from rtl.spec.registers import (
    ACTION_COUNT,
    BY_NAME,
    ERROR_FLAGS,
    REGISTERS,
    REWARD,
    SAMPLE,
    UPDATE,
    WINDOWS,
    Access,
    field_of,
)
from sim.devices.device import READ, RESET, WAIT, WRITE, DeviceError, GoldenDevice, Op, address_of
from sim.devices.shadow import Disagreement, ShadowedDevice
from sim.simulators.simulator import SimDevice

PARAMS = RLUParams(states=9, actions=9, action_counts=(3,) * 8 + (9,))


@pytest.fixture(params=["golden", "sim"], scope="module")
def device(request):
    made = GoldenDevice(PARAMS) if request.param == "golden" else SimDevice(PARAMS)
    yield made
    made.close()


def read(device, address):
    return device.transact([Op(READ, address)])[0]


def write(device, address, value):
    device.transact([Op(WRITE, address, value), Op(WAIT)])


def errors(device):
    """Names of the error flags, which are cleared."""
    status = read(device, address_of("STATUS"))
    names = [f.name for f in ERROR_FLAGS if status & f.mask]
    write(device, address_of("STATUS"), 0xF00)
    assert not read(device, address_of("STATUS")) & 0xF00
    return names


@pytest.mark.parametrize("register", REGISTERS, ids=lambda r: r.name)
def test_read_only_registers_refuse_writes_and_the_others_hold_their_limits(device, register):
    if not register.access.writable:
        before = read(device, register.offset)
        write(device, register.offset, 0)
        assert errors(device) == ["error_address"] and read(device, register.offset) == before
    elif register.access is Access.RW:
        before = read(device, register.offset)
        low, high = register.limits(PARAMS)
        for value in (low, high):
            write(device, register.offset, value & 0xFFFF_FFFF)
            assert read(device, register.offset) == value & 0xFFFF_FFFF
        for value in (low - 1, high + 1):
            write(device, register.offset, value & 0xFFFF_FFFF)
            assert errors(device) == ["error_value"]
            assert read(device, register.offset) == high & 0xFFFF_FFFF
        write(device, register.offset, before)
        assert errors(device) == []


@pytest.mark.parametrize(
    "address",
    [0x98, 0x1FC, 0x200 + 4 * 2, 0x400 + 4 * 9, 0x1000, 0x2000 + 32 * 9, 0x2000 + 4 * 5, 0x02, 0x2001, 0x3FFC],
)
def test_addresses_that_do_not_exist_set_a_flag_and_read_0(device, address):
    assert read(device, address) == 0
    assert errors(device) == ["error_address"]
    write(device, address, 1)
    assert errors(device) == ["error_address"]


@pytest.mark.parametrize("value", [0, 10, 0xFFFF_FFFF])
def test_action_counts_out_of_range_are_refused(device, value):
    address = ACTION_COUNT.address(3)
    write(device, address, value)
    assert errors(device) == ["error_value"] and read(device, address) == 3


def test_a_copy_of_the_golden_device_answers_as_the_device():
    device = GoldenDevice(PARAMS)
    for value, window in enumerate(WINDOWS, 1):
        write(device, window.address(0), value)
    assert [read(copy.deepcopy(device), window.address(0)) for window in WINDOWS] == [1, 2, 3]


def test_an_update_with_an_action_the_row_does_not_have_sets_a_flag(device):
    write(device, address_of("POLICY"), 0x0000_0003)
    write(device, address_of("COMMAND"), UPDATE)
    assert errors(device) == ["error_policy"]


def test_error_flags_stay_until_they_are_cleared(device):
    write(device, address_of("ALPHA"), 0xFFFF)
    read(device, 0x1000)
    write(device, address_of("ALPHA"), 0x2000)
    assert errors(device) == ["error_address", "error_value"]


def interrupts(device):
    """Names of the pending interrupts, which are cleared."""
    pending = read(device, address_of("IRQ_STATUS"))
    write(device, address_of("IRQ_STATUS"), pending)
    assert read(device, address_of("IRQ_STATUS")) == 0
    return [f.name for f in BY_NAME["IRQ_STATUS"].fields if pending & f.mask]


def test_work_and_errors_leave_interrupts(device):
    write(device, address_of("POLICY"), 0)
    interrupts(device)
    for name, value in (("COMMAND", SAMPLE), ("COMMAND", UPDATE), ("REWARD", 5), ("STATES", 9)):
        write(device, address_of(name), value)
        assert interrupts(device) == ["done"]
    for name in ("COMMAND", "ALPHA", "IRQ_ENABLE", "STATUS"):
        write(device, address_of(name), 0)
        assert interrupts(device) == []
    read(device, 0x1000)
    read(device, 0x1000)
    assert interrupts(device) == ["error"] and errors(device) == ["error_address"]
    write(device, address_of("POLICY"), 3)
    for _ in range(2):  # the flag is set the second time: the interrupt comes all the same
        write(device, address_of("COMMAND"), UPDATE)
        assert interrupts(device) == ["done", "error"]
    assert errors(device) == ["error_policy"]


def test_the_golden_device_requests_what_is_enabled():
    device = GoldenDevice(PARAMS)
    write(device, address_of("COMMAND"), SAMPLE)
    assert not device.irq
    write(device, address_of("IRQ_ENABLE"), 2)
    assert not device.irq
    write(device, address_of("IRQ_ENABLE"), 1)
    assert device.irq
    write(device, address_of("IRQ_STATUS"), 1)
    assert not device.irq


def test_the_devices_agree_on_random_accesses():
    rng = random.Random(7)
    places = [r.offset for r in REGISTERS] + [
        window.offset + 4 * word
        for window in WINDOWS
        for word in rng.sample(range(window.words(PARAMS) + 4), min(12, window.words(PARAMS)))
    ]
    golden, sim = GoldenDevice(PARAMS), SimDevice(PARAMS)
    shadowed = ShadowedDevice(sim, PARAMS)
    try:
        for _ in range(150):
            ops = []
            for _ in range(10):
                address = rng.choice(places)
                kind = rng.choice((READ, WRITE))
                value = rng.choice((0, 1, rng.getrandbits(4), rng.getrandbits(15), rng.getrandbits(32)))
                ops += [Op(kind, address, value if kind == WRITE else 0), Op(WAIT)]
            assert shadowed.transact(ops) == golden.transact(ops)
    finally:
        shadowed.close()


def test_a_write_or_a_window_read_while_busy_sets_a_flag_and_changes_nothing():
    with SimDevice(PARAMS) as device:
        q_place, counts = address_of("Q_TABLE"), address_of("ACTION_COUNT")
        words = device.transact(
            [
                Op(WRITE, address_of("COMMAND"), SAMPLE),
                Op(READ, address_of("STATUS")),
                Op(WRITE, address_of("ALPHA"), 5),
                Op(READ, counts),
                Op(WAIT),
                Op(READ, address_of("STATUS")),
                Op(READ, address_of("ALPHA")),
                Op(READ, counts),
                Op(WRITE, address_of("STATUS"), 0xF00),
                Op(READ, q_place),
            ]
        )
        status_busy, counts_busy, status, alpha, counts_idle, _ = words
        assert status_busy & field_of("STATUS", "busy").mask and counts_busy == 0
        assert status & 0xF00 == field_of("STATUS", "error_busy").mask
        assert alpha == 0x2000 and counts_idle == 3


def test_a_dying_simulator_is_reported_and_leaves_nothing_behind():
    device = SimDevice(PARAMS)
    folder = device._folder
    os.killpg(device.process_id, signal.SIGKILL)
    with pytest.raises(DeviceError, match="the simulator died"):
        device.transact([Op(READ, 0)])
    with pytest.raises(DeviceError, match="closed"):
        device.transact([Op(READ, 0)])
    assert not folder.exists()


def test_a_signal_while_the_simulation_starts_leaves_neither_process_nor_folder(monkeypatch):
    started = []

    class Interrupted(subprocess.Popen):
        """Gets Ctrl-C when the process is there, and before the caller has it."""

        def __init__(self, command, **options):
            super().__init__(command, **options)
            if options.get("start_new_session"):
                started.append((self.pid, Path(options["stdout"].name).parent))
                signal.raise_signal(signal.SIGINT)

    SimDevice(PARAMS).close()  # compiled, so that the next one only starts
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            SimDevice(PARAMS)
    finally:
        signal.signal(signal.SIGINT, before)
    ((pid, folder),) = started
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        for _ in range(200):  # the dead of the group that are not its leader vanish a little later
            os.killpg(pid, 0)
            time.sleep(0.05)


def test_the_shadow_notices_a_device_that_answers_otherwise():
    class Liar(GoldenDevice):
        def read(self, address):
            return super().read(address) ^ (address == address_of("REWARD"))

    shadowed = ShadowedDevice(Liar(PARAMS), PARAMS)
    shadowed.transact([Op(READ, address_of("ID"))])
    with pytest.raises(Disagreement, match="address 0x0064 reads 0x00000001 from the RTL and 0x00000000"):
        shadowed.transact([Op(READ, address_of("REWARD"))])


def test_a_reset_keeps_the_memories_and_nothing_else(device):
    row = address_of("Q_TABLE") + 32
    write(device, row, 0x0002_0001)
    write(device, address_of("ACTION_COUNT") + 4, 2)
    write(device, address_of("ALPHA"), 77)
    write(device, address_of("REWARD"), 900)
    write(device, address_of("ALPHA"), 1 << 20)
    device.transact([Op(WRITE, address_of("COMMAND"), SAMPLE), Op(RESET)])  # nothing of the sample is done
    for register in REGISTERS:
        if register.name not in ("STATUS", "COMMAND"):
            expected = GoldenDevice(PARAMS).read(register.offset)
            assert read(device, register.offset) == expected, register.name
    assert read(device, address_of("STATUS")) == 0b10
    assert read(device, row) == 0x0002_0001 and read(device, address_of("ACTION_COUNT") + 4) == 2


def test_a_golden_device_that_is_busy_until_a_wait_refuses_what_the_hardware_refuses():
    commands = [
        Op(WRITE, address_of("COMMAND"), REWARD | SAMPLE),
        Op(WRITE, address_of("ALPHA"), 5),
        Op(WRITE, address_of("ID"), 5),
        Op(READ, address_of("POLICY")),
        Op(READ, address_of("STATUS")),
        Op(WAIT),
        *(Op(READ, address_of(name)) for name in ("STATUS", "ALPHA", "LFSR", "CYCLES", "IRQ_STATUS")),
    ]
    golden = GoldenDevice(PARAMS, record=True, busy_until_wait=True)
    with SimDevice(PARAMS, record=True) as simulated:
        words = golden.transact(commands)
        assert words == simulated.transact(commands) and words[1] & 1 and not words[2] & 1
        assert golden.pins == [pins for _, pins in simulated.accesses()]
    assert [pins.err for pins in golden.pins] == [0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    at_once = GoldenDevice(PARAMS)
    at_once.transact(commands)
    assert at_once.read(address_of("ALPHA")) == 5
