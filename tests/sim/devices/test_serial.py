"""The serial link: frames, the host against a model of the board over a damaged line, and the simulated board."""

import os
import pty
import select
import threading
import tty

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim.devices.serial_device
import tb.kit.serial_model
from algo.runs.run_folder import TRACE, RunFolder
from algo.runs.tune import resumed_config
from rtl.flows.fpga.boards import board
from rtl.spec.params import RLUParams
from rtl.spec.registers import CLEAR, SAMPLE, UPDATE
from rtl.spec.serial_protocol import PROTOCOL_WORD, START_RESPONSE, divisor
from sim.devices.device import READ, RESET, WAIT, WRITE, DeviceError, GoldenDevice, Op, address_of
from sim.devices.serial_device import SerialDevice, check_port, split_address
from sim.devices.serial_frames import (
    Request,
    Response,
    crc16,
    parsed_request,
    request_frame,
    response_frame,
    take_response,
)
from tb.board.__main__ import simulated
from tb.bugs.planter import planted
from tb.kit.serial_model import GoldenUnit, LinkModel
from tests.algo.runs.test_tuning import tuned
from tests.planted_bugs import caught_by

PARAMS = RLUParams(states=9, actions=9)
WORD = st.integers(0, 2**32 - 1)
REQUESTS = st.builds(
    Request, st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 255), st.integers(0, 0xFFFF), WORD
)
RESPONSES = st.builds(
    Response, st.integers(0, 255), st.integers(0, 0xFFFF), st.lists(WORD, max_size=5).map(tuple), st.integers(0, 4)
)


# Frames.


def test_the_checksum_is_the_catalogued_one():
    from amaranth.lib.crc.catalog import CRC16_IBM_3740

    assert crc16(b"123456789") == 0x29B1 == CRC16_IBM_3740().compute(b"123456789")


@given(REQUESTS, RESPONSES)
def test_frames_round_trip(request, response):
    assert parsed_request(request_frame(request)) == request
    received = bytearray(response_frame(response))
    assert take_response(received) == response and not received


@given(st.data(), REQUESTS, RESPONSES)
def test_damage_of_up_to_16_neighbouring_bits_or_3_any_is_noticed(data, request, response):
    for frame in (request_frame(request), response_frame(response)):
        bits = 8 * len(frame)
        if data.draw(st.booleans()):
            mask = data.draw(st.integers(1, 0xFFFF)) << data.draw(st.integers(0, bits - 16))
        else:
            mask = sum(1 << at for at in data.draw(st.sets(st.integers(0, bits - 1), min_size=1, max_size=3)))
        damaged = (int.from_bytes(frame, "big") ^ mask).to_bytes(len(frame), "big")
        assert parsed_request(damaged) is None
        got = take_response(bytearray(damaged))
        assert got is None


@given(st.binary(max_size=40), RESPONSES, st.binary(max_size=10))
def test_a_response_is_found_in_garbage(before, response, after):
    # A start byte in the garbage may seem to begin a frame; it must not hide the real one.
    received = bytearray(before + response_frame(response) + after)
    assert take_response(received) == response
    assert bytes(received) == after


def test_garbage_does_not_pile_up():
    received = bytearray([START_RESPONSE] * 100_000)
    assert take_response(received) is None and len(received) < 2000


# The host against a model of the board, over a line that damages what it carries.


class ModelLine:
    """A line to a `LinkModel`, in no time: each frame, either way, meets the next of ``faults``."""

    def __init__(self, model, faults=()):
        self.model, self.faults, self.arrived = model, list(faults), bytearray()

    def write(self, data):
        for byte in damage(bytes(data), self.next_fault()):
            response = self.model.take(byte)
            if response is not None:
                self.arrived += damage(response_frame(response), self.next_fault())

    def next_fault(self):
        fault = self.faults.pop(0) if self.faults else None
        if fault == "reset":
            self.model.reset()
        return fault

    def read(self, seconds):
        if not self.arrived:
            self.model.pause()
            return b""
        taken, self.arrived = bytes(self.arrived), bytearray()
        return taken

    def close(self):
        pass


def damage(frame, fault):
    """What arrives of a frame."""
    if fault in (None, "reset"):
        return frame
    kind, at, noise = fault
    at %= len(frame)
    return {
        "lost": b"",
        "cut": frame[:at],
        "byte lost": frame[:at] + frame[at + 1 :],
        "doubled": frame[: at + 1] + frame[at:],
        "twice": frame + frame,
        "inserted": frame[:at] + noise + frame[at:],
        "replaced": frame[:at] + noise + frame[at + len(noise) :],
        "before": noise + frame,
        "after": frame + noise,
    }[kind]


DAMAGE = st.tuples(
    st.sampled_from(
        ["lost", "cut", "byte lost", "doubled", "twice", "inserted", "replaced", "before", "after"]
    ),
    st.integers(0, 30),
    st.one_of(st.binary(min_size=1, max_size=20), st.sampled_from([b"\xa6", b"\x3b", b"\xa6" * 13, b"\x3b" * 12])),
)  # fmt: skip
# Four faulty frames in a row at most, so that one of a request's six attempts is left alone.
FAULTS = st.lists(st.one_of(st.none(), DAMAGE), max_size=60).filter(
    lambda faults: all(None in faults[i : i + 5] for i in range(len(faults) - 4))
)
COMMANDS = st.sampled_from([SAMPLE, UPDATE, CLEAR, SAMPLE | UPDATE, 0x40])
ADDRESSES = st.sampled_from(
    [address_of(name) for name in ("ID", "LFSR", "STATES", "REWARD", "SHARE", "POLICY", "ACTION_COUNT", "Q_TABLE")]
    + [0x202, 0x3000, 0x3FFC]
)
OPS = st.lists(
    st.one_of(
        st.builds(lambda word: [Op(WRITE, address_of("COMMAND"), word), Op(WAIT)], COMMANDS),
        st.builds(lambda a, w: [Op(WRITE, a, w), Op(WAIT)], ADDRESSES, st.one_of(st.integers(0, 9), WORD)),
        st.builds(
            lambda a, n: [Op(READ, a + 4 * i) for i in range(n) if a + 4 * i < 0x4000], ADDRESSES, st.integers(1, 9)
        ),
    ),
    max_size=12,
).map(lambda groups: [op for group in groups for op in group])
QUICKLY = {"slack_seconds": 0.0}


def connected(model, faults=(), host=sim.devices.serial_device):
    line = ModelLine(model)
    device = host.SerialDevice("model@100000000", line=line, **QUICKLY)
    line.faults = list(faults)
    return device


def writes(accesses):
    return [access for access in accesses if access[1] is not None]


def check_damaged_line(ops, faults, host=sim.devices.serial_device, board=tb.kit.serial_model):
    """Whatever the line does, the host sees what it would of a golden device, and each write is done once."""
    model = board.LinkModel(board.GoldenUnit(PARAMS))
    device = connected(model, faults, host)
    assert device.transact(ops) == GoldenDevice(PARAMS).transact(ops)
    assert writes(model.accesses) == [(op.address, op.value) for op in ops if op.kind == WRITE]
    assert model.resets == 1
    device.close()


@settings(max_examples=150, deadline=None)
@given(OPS, FAULTS)
def test_a_damaged_line_changes_nothing(ops, faults):
    check_damaged_line(ops, faults)


@settings(max_examples=60, deadline=None)
@given(OPS, FAULTS, st.integers(0, 20))
def test_a_reset_is_noticed(ops, faults, when):
    model = LinkModel(GoldenUnit(PARAMS))
    device = connected(model, [*faults[:when], "reset"])
    golden = GoldenDevice(PARAMS).transact(ops)
    try:
        assert device.transact(ops) == golden
    except DeviceError as error:
        assert "was reset" in str(error)
        done = [(op.address, op.value) for op in ops if op.kind == WRITE]
        seen = writes(model.accesses)
        assert seen == done[: len(seen)]
        with pytest.raises(DeviceError, match="closed"):
            device.transact(ops)
    else:
        assert "reset" in device._line.faults or model.session == 0


@caught_by("test", "tests/sim/devices/test_serial.py::test_a_planted_bug_is_noticed")
def test_a_planted_bug_is_noticed(bug, catcher):
    ops = [Op(WRITE, address_of("COMMAND"), SAMPLE), Op(WAIT), Op(READ, address_of("LFSR")), Op(WAIT)]
    ops.append(Op(READ, address_of("STATES")))
    # The command's first copy arrives as another command; the answer to the second is lost; that to a read comes twice.
    faults = [("replaced", 10, bytes([CLEAR])), None, ("lost", 0, b""), None, None, None, ("twice", 0, b"")]
    check_damaged_line(ops, faults)
    with planted(bug) as module:
        host, board = module("sim.devices.serial_device"), module("tb.kit.serial_model")
        with pytest.raises((AssertionError, host.DeviceError)):
            check_damaged_line(ops, faults, host, board)


def test_reads_of_neighbours_travel_together():
    model = LinkModel(GoldenUnit(PARAMS))
    device = connected(model)
    frames = []
    write = device._line.write
    device._line.write = lambda data: (frames.append(data), write(data))
    base = address_of("Q_TABLE")
    device.transact([Op(WAIT), *(Op(READ, base + 4 * i) for i in range(70)), Op(READ, 0), Op(WAIT)])
    assert len(frames) == 4 and device.repeats == 0


def test_refused_accesses_are_told():
    device = connected(LinkModel(GoldenUnit(PARAMS)))
    bad = Op(WRITE, address_of("STATES"), 10)
    assert device.transact([bad, Op(READ, 0), Op(READ, address_of("STATUS"))])[1] & 0x400
    assert device.refused == [bad]
    assert device.transact([Op(READ, 0x3FFC)]) == [0] and device.refused == [Op(READ, 0x3FFC)]
    device.transact([Op(READ, 0)])
    assert device.refused == []


def test_a_reset_is_no_operation_of_a_board():
    device = connected(LinkModel(GoldenUnit(PARAMS)))
    with pytest.raises(ValueError, match="a board's unit is reset by a new connection"):
        device.transact([Op(RESET)])
    assert device.transact([Op(READ, 0)]) == [0x524C5531]


def test_another_host_is_noticed():
    model = LinkModel(GoldenUnit(PARAMS))
    first = connected(model)
    second = connected(model)
    with pytest.raises(DeviceError, match="another program has taken over the board on model"):
        first.transact([Op(READ, 0)])
    assert second.transact([Op(READ, 0)]) == [0x524C5531]


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(tb.kit.serial_model, "PROTOCOL_WORD", PROTOCOL_WORD + 1)
    with pytest.raises(DeviceError, match="speaks version 2 of the serial protocol, this program version 1"):
        connected(LinkModel(GoldenUnit(PARAMS)))
    monkeypatch.setattr(tb.kit.serial_model, "PROTOCOL_WORD", 0x12345678)
    with pytest.raises(DeviceError, match="what answers on model is not the serial link of an RL unit"):
        connected(LinkModel(GoldenUnit(PARAMS)))


class Peer:
    """The other end of a pseudo-terminal, which answers what it hears with ``answer(heard)``."""

    def __init__(self, answer):
        self.end, self.other = pty.openpty()
        tty.setraw(self.other)
        self.port = os.ttyname(self.other)
        self.running = True
        self.thread = threading.Thread(target=self.run, args=(answer,), daemon=True)
        self.thread.start()

    def run(self, answer):
        while self.running:
            if select.select([self.end], [], [], 0.05)[0]:
                os.write(self.end, answer(os.read(self.end, 4096)))

    def __enter__(self):
        return self.port

    def __exit__(self, *exception):
        self.running = False
        self.thread.join()
        os.close(self.end)
        os.close(self.other)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda heard: b"", "nothing answers on .* at 115200 baud: is the board powered"),
        (lambda heard: heard, "sends back what it receives: there is a loop-back"),
        (lambda heard: b"login: ", "is not the serial link of an RL unit; it sent 6c 6f 67|it sent 6c 6f 67 69 6e"),
    ],
    ids=["silent", "loop-back", "another device"],
)
def test_a_port_without_a_board_is_told(answer, said, monkeypatch):
    monkeypatch.setattr(sim.devices.serial_device, "_ATTEMPTS", 2)
    with Peer(answer) as port, pytest.raises(DeviceError, match=said):
        SerialDevice(port, slack_seconds=0.02)


def test_ports_are_named():
    assert split_address("/dev/ttyUSB0") == ("/dev/ttyUSB0", 115200)
    assert split_address("/dev/ttyUSB0@1000000") == ("/dev/ttyUSB0", 1_000_000)
    for address in ("", "@9600", "/dev/ttyUSB0@fast", "/dev/ttyUSB0@0"):
        with pytest.raises(ValueError, match="a serial port is PORT or PORT@BAUD"):
            split_address(address)
    with pytest.raises(DeviceError, match="no serial port /dev/nowhere; the ports here are: "):
        check_port("/dev/nowhere")
    with pytest.raises(DeviceError, match=r"the serial port /dev/nowhere cannot be opened: .*; there are: "):
        SerialDevice("/dev/nowhere")
    with pytest.raises(DeviceError, match="the serial port /dev/null cannot be opened: "):
        SerialDevice("/dev/null")


def test_what_is_no_port_is_refused_before_a_run_begins(tmp_path):
    (tmp_path / "file").write_text("")
    for path, said in (
        (tmp_path, "is a folder, not a serial port; there are: "),
        (tmp_path / "file", "is a file, not a serial port; there are: "),
        ("/dev/zero", "the serial port /dev/zero cannot be opened: "),
    ):
        with pytest.raises(DeviceError, match=said):
            check_port(str(path))
    with Peer(lambda heard: b"") as port:
        check_port(port)


def test_rates_a_clock_cannot_make_are_refused():
    assert divisor(25e6, 115200) == 217 and divisor(12e6, 1_000_000) == 12
    for baud in (0, -1, 3_500_000, 12_000_000):
        with pytest.raises(ValueError, match="a clock of 12 MHz cannot make"):
            divisor(12e6, baud)


# The simulated board: its top, pins included, behind a pseudo-terminal.


class Relay(Peer):
    """A line between a host and a board that ``carry(data, to_board)`` may damage."""

    def __init__(self, port, carry):
        self.board = os.open(port, os.O_RDWR | os.O_NOCTTY)
        self.carry = carry
        super().__init__(None)

    def run(self, answer):
        while self.running:
            for source in select.select([self.end, self.board], [], [], 0.05)[0]:
                to_board = source == self.end
                try:
                    data = self.carry(os.read(source, 4096), to_board)
                    os.write(self.board if to_board else self.end, data)
                except OSError:
                    return

    def __exit__(self, *exception):
        super().__exit__()
        os.close(self.board)


@pytest.fixture(scope="module")
def running():
    with simulated(board("ulx3s-85f"), RLUParams(states=16, actions=9)) as simulation:
        yield simulation


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    folder, summary, _ = tuned(tmp_path_factory.mktemp("runs") / "golden")
    return (folder.path / TRACE).read_bytes(), summary


def test_the_simulated_board_decides_as_the_golden_model(running, golden, tmp_path):
    folder, summary, _ = tuned(tmp_path / "run", device=f"serial:{running.port}")
    assert (folder.path / TRACE).read_bytes() == golden[0]
    assert summary.pop("golden_words_compared") > 33 * 30
    assert summary | {"golden_words_compared": 0} == golden[1]


def test_a_unit_that_plans_on_the_simulated_board_decides_as_the_golden_model(tmp_path):
    settings = {"method": "planning", "schedule": "planning", "iterations": 4}
    whole, expected, _ = tuned(tmp_path / "golden", **settings)
    with simulated(board("ulx3s-85f"), RLUParams(states=4, actions=9, episodes=64, points=9)) as simulation:
        folder, summary, _ = tuned(tmp_path / "run", device=f"serial:{simulation.port}", **settings)
    assert (folder.path / TRACE).read_bytes() == (whole.path / TRACE).read_bytes()
    assert summary["found"] == expected["found"] and summary["golden_words_compared"] > 4 * 30


@pytest.mark.slow
def test_the_command_tunes_on_the_simulated_board(running, tmp_path):
    from tests.algo.commands.test_cli import SMALL, rlu

    for device in ("golden", f"serial:{running.port}"):
        done = rlu("tune", *SMALL, "--device", device, "--out", tmp_path / device[:6])
        assert done.returncode == 0, done.stderr
    compared = rlu("compare", tmp_path / "golden", tmp_path / "serial")
    assert compared.returncode == 0 and "the traces agree in all 33 iterations" in compared.stdout
    assert (tmp_path / "golden" / TRACE).read_bytes() == (tmp_path / "serial" / TRACE).read_bytes()


def test_a_noisy_line_is_survived(running, golden, tmp_path):
    """Every 50th request is damaged, and a piece of every 50th response, each in another way."""
    requests, damages = [0], []
    kinds = ("lost", "cut", "byte lost", "doubled", "inserted", "replaced", "before", "after", "twice")

    def carry(data, to_board):
        requests[0] += to_board
        if requests[0] % 25 or (to_board, requests[0]) in damages or to_board == bool(requests[0] // 25 % 2):
            return data
        damages.append((to_board, requests[0]))
        number = requests[0] // 25
        return damage(data, (kinds[number // 2 % len(kinds)], number, bytes([0xA6, 0x3B, number & 0xFF])))

    with Relay(running.port, carry) as port:
        folder, _, _ = tuned(tmp_path / "run", device=f"serial:{port}")
    assert (folder.path / TRACE).read_bytes() == golden[0]
    assert len(damages) > 30


def interrupted(pieces, at, then):
    """A ``carry`` that calls ``then`` before the host's ``at``-th piece."""

    def carry(data, to_board):
        pieces[0] += to_board
        if pieces[0] == at and to_board:
            then()
        return data

    return carry


def test_a_reset_in_mid_run_is_refused_and_the_run_resumable(running, golden, tmp_path):
    with (
        Relay(running.port, interrupted([0], 500, running.press_reset)) as port,
        pytest.raises(DeviceError, match=f"the board on {port} was reset: its RL unit has forgotten the task"),
    ):
        tuned(tmp_path / "run", device=f"serial:{port}")
    assert 5 < len(RunFolder.open(tmp_path / "run").steps) < 30
    folder, _, said = tuned(tmp_path / "run", device=f"serial:{running.port}")
    assert any("after iteration" in text for text in said)
    assert (folder.path / TRACE).read_bytes() == golden[0]


def test_a_port_that_vanishes_leaves_the_run_resumable(running, golden, tmp_path):
    def pull():
        raise OSError("the cable is out")

    relay = Relay(running.port, interrupted([0], 400, pull))
    vanished = threading.Thread(target=lambda: (relay.thread.join(), os.close(relay.end)))
    vanished.start()
    with pytest.raises(DeviceError, match=f"the serial port {relay.port} is gone"):
        tuned(tmp_path / "run", device=f"serial:{relay.port}")
    vanished.join()
    os.close(relay.other)
    os.close(relay.board)
    folder = RunFolder.open(tmp_path / "run")
    assert 3 < len(folder.steps) < 30
    # It is plugged in elsewhere now.
    config = resumed_config(folder, {"device": f"serial:{running.port}"})
    assert config.device.device == f"serial:{running.port}"
    done, _, _ = tuned(tmp_path / "run", device=config.device.device)
    assert (done.path / TRACE).read_bytes() == golden[0]


def test_a_unit_with_another_lfsr_is_refused(running, tmp_path):
    with pytest.raises(ValueError, match="the unit on the board has a 16-bit LFSR, but the run wants 32 bits: give"):
        tuned(tmp_path / "run", device=f"serial:{running.port}", lfsr_width=32)
