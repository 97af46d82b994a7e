"""The configuration of an HQNAS search: what goes together, and what it is written as."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algo.nas.config import NasConfig
from algo.support.settings import flat, from_flat, from_json, settings_of, to_json
from tests.places import ROOT


def config(**values: Any) -> NasConfig:
    return from_flat(NasConfig, values)


def test_a_latency_or_weights_that_make_1_are_needed() -> None:
    for fine in ({"latency": "60%"}, {"mu": 0.2, "nu": 0.8}, {"mu": 1.0, "nu": 0.0}):
        assert config(**fine).space.name == "small"
    for wrong, said in (
        ({}, r"^say how fast: --latency 0.8ms or --latency 60%, or the published --mu 0.5 --nu 0.5$"),
        ({"latency": "1ms", "mu": 0.5, "nu": 0.5}, r"^latency 1ms and mu and nu exclude each other"),
        ({"latency": "1ms", "nu": 0.5}, r"^latency 1ms and nu exclude each other"),
        ({"mu": 0.5}, r"^mu is given alone: mu and nu go together"),
        ({"mu": 0.5, "nu": 0.6}, r"^mu \+ nu must be 1, not 0.5 \+ 0.6$"),
        ({"latency": "1ms", "warmup": 12}, r"^warmup must leave an epoch for the choices: at most 11 of 12, not 12$"),
        ({"latency": "1ms", "paths": "all"}, r"^paths must be one of shared, multi, single, not 'all'$"),
        ({"latency": "1ms", "space": "huge"}, r"^space must be one of cifar10, imagenet, small, tiny, not 'huge'$"),
    ):
        with pytest.raises(ValueError, match=said):
            config(**wrong)


@given(st.floats(0, 1))
def test_any_share_of_accuracy_is_allowed(mu: float) -> None:
    assert config(mu=mu, nu=1 - mu).objective.mu == mu


def test_it_is_written_and_read() -> None:
    mine = config(latency="0.8ms", data="fashion-mnist", epochs=3, warmup=1, levels="two", quantised_epochs=2, seed=7)
    assert from_json(NasConfig, to_json(mine)) == mine and from_flat(NasConfig, flat(mine)) == mine
    names = [one.name for one in settings_of(NasConfig)]
    assert len(names) == len(set(names)) and all(one.help for one in settings_of(NasConfig) if one.name == "latency")


def test_it_brings_neither_numpy_nor_torch() -> None:
    code = "import sys, algo.nas.config; sys.exit(bool({'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
