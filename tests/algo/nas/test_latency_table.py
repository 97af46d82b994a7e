"""A table's sums are those of its cells, it comes back from its file, and what it lacks or contradicts is named."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.nas.latency_table import LatencyTable, TableError
from algo.nas.space import SPACES
from tests.algo.nas.tables import SMALL, made_up

TABLE = made_up()


def one_hot(numbers, count):
    return np.eye(count)[list(numbers)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(SMALL.options), min_size=2, max_size=2), st.integers(0, 1000))
def test_certain_choices_are_expected_to_cost_what_the_network_costs(options, seed):
    table = made_up(seed=seed)
    paths, bits = table.indices(tuple(options))
    theta, phi = one_hot(paths, 2), one_hot(bits, 3)
    assert table.expected_ms(theta, phi) == pytest.approx(table.ms(tuple(options)))
    tensors = [torch.tensor(values) for values in (theta, phi)]
    assert float(table.expected_ms(*tensors, torch.as_tensor)) == pytest.approx(table.ms(tuple(options)))


def test_the_expected_latency_is_the_mean_over_drawn_networks():
    rng = np.random.default_rng(3)
    theta, phi = rng.dirichlet(np.ones(2), 2), rng.dirichlet(np.ones(3), 2)
    mean = 0.0
    for one in range(6):
        for other in range(6):
            chosen = (SMALL.options[one], SMALL.options[other])
            paths, bits = TABLE.indices(chosen)
            share = np.prod([theta[n, paths[n]] * phi[n, bits[n]] for n in range(2)])
            mean += share * TABLE.ms(chosen)
    assert TABLE.expected_ms(theta, phi) == pytest.approx(mean)


def test_its_gradient_lowers_what_is_dear():
    theta = torch.full((2, 2), 0.5, dtype=torch.float64, requires_grad=True)
    phi = torch.full((2, 3), 1 / 3, dtype=torch.float64, requires_grad=True)
    TABLE.expected_ms(theta, phi, torch.as_tensor).backward()
    assert (theta.grad[:, 1] > theta.grad[:, 0]).all()  # an expansion of 6 costs more than one of 3
    assert (phi.grad[:, 2] > phi.grad[:, 0]).all()


def test_a_table_comes_back_from_its_file(tmp_path):
    TABLE.write(tmp_path / "t.json")
    again = LatencyTable.read(tmp_path / "t.json")
    assert again.to_json() == TABLE.to_json()
    assert again.ms(again.largest) == TABLE.ms(TABLE.largest)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("blocks_ms", 1, 0, 2), None, "blocks_ms has no latency of block 2.1 with k3 e3 16 bits"),
        (("blocks_ms", 0, 1, 0), -1.0, "no latency of block 1.1 with k3 e6 4 bits"),
        (("blocks_ms", 0), [], "blocks_ms must be lists of numbers"),
        (("switch_ms", 2, 0, 1), None, "a change from 4 to 8 bits before block 3"),
        (("ends_ms",), -1.0, "ends_ms must be a latency of at least 0 ms"),
        (("ends_ms",), "1", "ends_ms of the table must be"),
        (("blocks_ms",), [[[0.0] * 3] * 2] * 2, "all of blocks_ms are 0 ms"),
        (("format",), "other", "format must be 'rlu latency table 1', not 'other'"),
        (("space", "stages", 0), [4], "a stage must be channels, blocks and stride"),
        (("space", "bits"), [8, 4], "bits must rise"),
        (("speeds",), ["int8"], "1 speeds do not suit the 3 bit-widths"),
        (("classes",), 1, "1 classes"),
    ],
)
def test_a_fault_is_named(tmp_path, path, value, said):
    content = TABLE.to_json()
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(TableError, match=f"t.json cannot be used: .*{said}"):
        LatencyTable.read(tmp_path / "t.json")


def test_what_is_no_table_is_refused(tmp_path):
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(TableError, match=r"t\.json cannot be used"):
        LatencyTable.read(tmp_path / "t.json")


def test_a_table_of_something_else_is_refused():
    TABLE.check_suits(SMALL, (1, 32, 32), 10)
    with pytest.raises(TableError, match="for the space two, not tiny"):
        TABLE.check_suits(SPACES["tiny"], (1, 32, 32), 10)
    with pytest.raises(TableError, match="another space of the name two"):
        TABLE.check_suits(dataclasses.replace(SMALL, head=9), (1, 32, 32), 10)
    with pytest.raises(TableError, match=r"\(1, 32, 32\), not \(3, 32, 32\)"):
        TABLE.check_suits(SMALL, (3, 32, 32), 10)
    with pytest.raises(TableError, match="classes 10, not 100"):
        TABLE.check_suits(SMALL, (1, 32, 32), 100)


def test_a_table_of_another_machine_is_refused():
    table = dataclasses.replace(TABLE, details={"processor": "A", "threads": 1})
    table.check_details({"processor": "A", "threads": 1})
    with pytest.raises(TableError, match="processor was None, and is 'A' here"):
        TABLE.check_details({"processor": "A"})
    with pytest.raises(TableError, match="processor was 'A', and is 'B' here"):
        table.check_details({"processor": "B", "threads": 1})


def test_limits_are_in_ms_or_parts_of_the_largest_network():
    assert TABLE.limit_ms("0.8ms") == 0.8
    assert TABLE.limit_ms("60%") == pytest.approx(0.6 * TABLE.ms(SMALL.same((3, 6, 8))))
    for text in ("0.8", "ms", "-1ms", "0%", "nanms", "infms", "60 percent"):
        with pytest.raises(ValueError, match="a latency must be"):
            TABLE.limit_ms(text)


def test_a_table_of_more_bit_widths_serves():
    table = made_up()
    less = table.narrowed((4, 16))
    assert less.space == dataclasses.replace(table.space, bits=(4, 16)) and less.speeds == ("int4", "int16")
    for options in itertools.product(less.space.options, repeat=2):  # also those that end with other bits than 8
        assert less.ms(options) == pytest.approx(table.ms(options))
    assert table.narrowed(table.space.bits) is table and table.narrowed((4, 6)) is table


def test_what_runs_in_float32_is_known():
    assert dataclasses.replace(made_up(), speeds=("int8", "int8", "float32")).in_float32 == (16,)
    assert made_up().in_float32 == ()
