"""The records of registers and windows: sound in themselves, and one geometry for whoever packs or addresses rows."""

import dataclasses
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtl.spec import register_exports
from rtl.spec.buses import ADDRESS_WIDTH
from rtl.spec.params import MAX_ACTIONS, MAX_STATES, RLUParams, words_of_policy
from rtl.spec.register_exports import description, svd
from rtl.spec.registers import (
    ACTION_COUNT,
    ERROR_FLAGS,
    MEMORIES,
    POLICY,
    Q_TABLE,
    REGISTERS,
    WINDOWS,
    Access,
    Window,
    field_of,
)

PLAIN = RLUParams(states=17, actions=7, coef_frac=10, gain_frac=8)
EPISODIC = RLUParams(states=17, actions=7, episodes=16)
PLANNING = RLUParams(states=17, actions=7, episodes=16, points=5)
units = st.builds(RLUParams, states=st.integers(1, MAX_STATES), actions=st.integers(2, MAX_ACTIONS))


@pytest.mark.parametrize("register", REGISTERS, ids=lambda r: r.name)
def test_a_register_holds_a_number_or_fields_that_share_no_bit(register):
    assert (register.number is None) == bool(register.fields)
    for lower, upper in pairwise(register.fields):
        assert lower.lsb + lower.width <= upper.lsb
    for params in (PLAIN, EPISODIC, PLANNING):
        low, high = register.limits(params)
        reset, width = register.reset_value(params), register.width(params)
        assert 0 <= reset < 1 << width <= 1 << 32
        assert -(1 << width - 1) <= low <= high < 1 << width
        if register.access is Access.RW:
            assert low <= reset <= high


def field_resets_missed(params):
    """Registers of the JSON description whose reset value is not that of their fields."""
    registers = description(params)["registers"]
    return [
        r["name"] for r in registers if r["fields"] and r["reset"] != sum(f["reset"] << f["lsb"] for f in r["fields"])
    ]


@pytest.mark.parametrize("params", [PLAIN, EPISODIC, PLANNING], ids=["plain", "episodic", "planning"])
def test_the_fields_of_the_json_description_reset_to_what_the_register_does(params):
    assert not field_resets_missed(params)


def test_access_is_the_records_and_not_the_texts(monkeypatch):
    """A field whose text says nothing of it is read-only in every export, and one whose text does is not."""
    status = next(r for r in REGISTERS if r.name == "STATUS")
    busy, *others = status.fields
    free = dataclasses.replace(busy, access=None, doc="a command is running (read-only)")
    changed = dataclasses.replace(status, fields=(free, *others))

    def accesses(params):
        (found,) = (r for r in description(params)["registers"] if r["name"] == "STATUS")
        return {field["name"]: field["access"] for field in found["fields"]}

    assert accesses(PLAIN)["busy"] == "ro" and accesses(PLAIN)["error_busy"] == "w1c"
    before = svd(PLAIN)
    monkeypatch.setattr(register_exports, "REGISTERS", tuple(changed if r is status else r for r in REGISTERS))
    assert accesses(PLAIN)["busy"] == "w1c"
    assert svd(PLAIN).count("<access>read-only") == before.count("<access>read-only") - 1


def test_a_field_of_episodic_units_is_read_only_and_0_in_others():
    for params in (PLAIN, EPISODIC):
        fields = {
            (r.name, f.name): (r.access_of(f, params), f.reset_value(params))
            for r in REGISTERS
            for f in r.fields
            if f.needs == "episodes"
        }
        expected = (Access.RO, 0) if params is PLAIN else (Access.RW, 32)
        assert fields["EPISODIC", "tournament"] == expected and len(fields) == 4
        assert {access for access, _ in fields.values()} == {expected[0]}


def test_a_field_of_planning_units_is_read_only_and_0_in_others():
    for params in (PLAIN, EPISODIC, PLANNING):
        fields = {
            (r.name, f.name): (f.present(params), f.reset_value(params))
            for r in REGISTERS
            for f in r.fields
            if f.needs == "points"
        }
        assert {present for present, _ in fields.values()} == {params is PLANNING}
        assert fields["PLANNING", "climbs"][1] == (16 if params is PLANNING else 0)


@given(st.integers(0, 0xFFFF), st.sampled_from(MEMORIES))
def test_a_memory_holds_the_words_whose_parts_it_has(word, memory):
    parts = [word >> lsb & (1 << width) - 1 for lsb, width, _ in memory.bounds(PLANNING)]
    counts = [count for *_, count in memory.bounds(PLANNING)]
    whole = memory.word(*reversed(parts)) == word
    assert memory.holds(word, PLANNING) == (whole and all(map(int.__lt__, parts, counts)))


def test_the_error_flags_are_those_bits_of_status_that_can_be_cleared():
    assert [f.name for f in ERROR_FLAGS] == ["error_address", "error_busy", "error_value", "error_policy"]


@pytest.mark.parametrize("name", [("STATUS", "bizy"), ("STATE", "busy")])
def test_an_unknown_field_is_a_key_error(name):
    with pytest.raises(KeyError):
        field_of(*name)


def test_the_description_is_plain_json():
    assert json.loads(json.dumps(description(EPISODIC))) == description(EPISODIC)


def words_there_are(params):
    """Address of every word of every window and its first entry, as docs/integrate/registers.md has them."""
    words = {0x200 + 4 * k: (POLICY, 8 * k, 0) for k in range((params.states + 7) // 8)}
    words |= {0x400 + 4 * row: (ACTION_COUNT, row, 0) for row in range(params.states)}
    for row in range(params.states):
        for pair in range((params.actions + 1) // 2):
            words[0x2000 + 32 * row + 4 * pair] = (Q_TABLE, row, 2 * pair)
    return words


@settings(max_examples=10)
@given(units)
def test_a_window_has_the_words_of_the_register_map_and_no_other(params):
    found = {}
    for window in WINDOWS:
        for address in range(1 << ADDRESS_WIDTH):
            place = window.place(address, params)
            if place is not None:
                assert address not in found
                found[address] = (window, *place)
    assert found == words_there_are(params)


@given(units, st.data())
def test_addresses_and_places_are_inverse(params, data):
    words = words_there_are(params)
    for window, columns in ((POLICY, 1), (ACTION_COUNT, 1), (Q_TABLE, params.actions)):
        mine = [address for address, (of, *_) in words.items() if of is window]
        assert window.addresses(params.states, columns) == mine
        assert window.words(params) == window.strides(params) * window.stride // 4
        assert window.used_words(params) * window.strides(params) == len(mine)
        row, column = data.draw(st.integers(0, params.states - 1)), data.draw(st.integers(0, columns - 1))
        place = window.place(window.address(row, column), params)
        assert place is not None
        assert 0 <= row - place[0] < window.rows_per_word and 0 <= column - place[1] < window.entries_per_word
        first = row // window.rows_per_word * window.rows_per_word
        assert window.addresses(1, column + 1, first=first)[-1] == window.address(row, column)
    assert words_of_policy(params.states) == POLICY.words(params)


@pytest.mark.parametrize("window", WINDOWS, ids=lambda w: w.name)
def test_a_window_of_the_largest_unit_fills_its_span(window):
    largest = RLUParams(states=MAX_STATES, actions=MAX_ACTIONS)
    assert (
        window.span
        == 4 * window.words(largest)
        == {"POLICY": 0x80, "ACTION_COUNT": 0x400, "Q_TABLE": 0x2000}[window.name]
    )
    assert window.offset % window.span == 0
    ends = [(w.offset, w.offset + w.span) for w in WINDOWS if w is not window]
    assert all(end <= window.offset or window.offset + window.span <= start for start, end in ends)
    assert window.offset >= 4 * len(REGISTERS) and window.offset + window.span <= 1 << ADDRESS_WIDTH


def entries(window: Window):
    return st.lists(st.integers(-(1 << 15), (1 << 15) - 1) if window.signed else st.integers(0, 15), max_size=40)


@pytest.mark.parametrize("window", WINDOWS, ids=lambda w: w.name)
@given(data=st.data())
def test_what_is_packed_is_unpacked(window, data):
    values = data.draw(entries(window))
    words = window.pack(values)
    assert all(0 <= word < 1 << 32 for word in words)
    assert window.unpack(words, len(values)) == tuple(values)
    assert len(words) == -(-len(values) // window.entries_per_word)


def test_the_words_of_a_policy_and_of_q_values_are_those_of_the_register_map():
    assert POLICY.pack([1, 2, 3, 4, 5, 6, 7, 8, 9]) == [0x8765_4321, 9]
    assert Q_TABLE.pack([1, -1, -32768]) == [0xFFFF_0001, 0x8000]
    assert ACTION_COUNT.pack([3, 16]) == [3, 16]
