"""Costs of networks with skipped blocks: as the table's own without any, and nothing for what is skipped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algo.fed.costs import latency_ms, size_bytes
from algo.nas.sizes import sizes_of
from algo.nas.space import SPACES
from tests.algo.nas.tables import made_up

TABLE = made_up(SPACES["tiny"])
SIZES = sizes_of(TABLE)
options = st.sampled_from(TABLE.space.options)


@given(st.lists(options, min_size=4, max_size=4))
def test_without_a_skipped_block_they_are_the_tables(architecture):
    assert latency_ms(TABLE, architecture) == pytest.approx(TABLE.ms(tuple(architecture)), rel=1e-12)
    assert size_bytes(SIZES, architecture) == SIZES.of(tuple(architecture))


@given(st.lists(options, min_size=4, max_size=4), st.integers(0, 3))
def test_a_skipped_block_takes_nothing_and_its_neighbours_change_precision_at_once(architecture, place):
    skipped = [None if number == place else option for number, option in enumerate(architecture)]
    paths, bits = TABLE.indices(tuple(architecture))
    ways = [TABLE.end, *bits, TABLE.end]
    here = TABLE.blocks_ms[place, paths[place], bits[place]]
    switches = TABLE.switch_ms[place, ways[place], ways[place + 1]]
    switches += TABLE.switch_ms[place + 1, ways[place + 1], ways[place + 2]]
    at_once = TABLE.switch_ms[place + 1, ways[place], ways[place + 2]]
    assert latency_ms(TABLE, skipped) == pytest.approx(TABLE.ms(tuple(architecture)) - here - switches + at_once)
    taken = int(SIZES.blocks[place, paths[place], bits[place]])
    assert size_bytes(SIZES, skipped) == SIZES.of(tuple(architecture)) - taken


def test_a_network_of_no_blocks_is_its_ends():
    assert latency_ms(TABLE, [None] * 4) == TABLE.ends_ms + TABLE.switch_ms[-1, TABLE.end, TABLE.end]
    assert size_bytes(SIZES, [None] * 4) == SIZES.ends
