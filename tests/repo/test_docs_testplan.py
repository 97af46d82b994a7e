"""The testplan names tests that exist, and leaves out no bench."""

from __future__ import annotations

import re

import pytest

from tb.kit.designs import BENCHES, ROOT

PLAN = (ROOT / "docs" / "verify" / "testplan.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:tb|tests)/[\w/]+\.py(?:::\w+)?)`", PLAN)))


def functions_of(path: str) -> set[str]:
    return set(re.findall(r"^(?:async )?def (\w+)\(", (ROOT / path).read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", NAMED)
def test_every_named_test_exists(name: str) -> None:
    path, _, function = name.partition("::")
    assert (ROOT / path).is_file()
    assert not function or function in functions_of(path)


def test_every_test_of_a_bench_is_named() -> None:
    for bench in BENCHES.values():
        path = f"{bench.module.replace('.', '/')}.py"
        source = (ROOT / path).read_text()
        tests = re.findall(r"^@cocotb\.test\(.*?^async def (\w+)\(", source, re.MULTILINE | re.DOTALL)
        assert "coverage" in tests
        for test in tests:
            assert test == "coverage" or f"{path}::{test}" in NAMED
