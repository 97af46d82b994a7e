"""The testplan names tests that exist, and leaves out no bench."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tb.kit.designs import BENCHES, ROOT
from tests.places import cases_in

PLAN = (ROOT / "docs" / "verify" / "testplan.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:tb|tests)/[\w/]+\.py(?:::\w+)?)`", PLAN)))
#: Prints the tests of each bench as cocotb would find them. What a bench declares depends on its configuration.
COLLECT = """
import importlib, json, os, sys
import cocotb
from tb.kit.designs import BENCHES

kind = type(cocotb.test()(lambda dut: None))
found = {}
for bench in BENCHES.values():
    os.environ.update(bench.environment(bench.configs[0], 1))
    for name in [name for name in sys.modules if name.startswith(("tb.benches.", "tb.kit.bench"))]:
        del sys.modules[name]
    module = importlib.import_module(bench.module)
    found[bench.name] = [name for name, value in vars(module).items() if isinstance(value, kind)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def tests_of_benches() -> dict[str, list[str]]:
    """Names of each bench's tests."""
    done = subprocess.run([sys.executable, "-c", COLLECT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", NAMED)
def test_every_named_test_exists(name: str, tests_of_benches: dict[str, list[str]]) -> None:
    path, _, function = name.partition("::")
    if path.startswith("tests/"):
        there = cases_in(path)
    else:
        benches = [bench.name for bench in BENCHES.values() if f"{bench.module.replace('.', '/')}.py" == path]
        assert benches, f"{path} is no bench"
        there = [test for bench in benches for test in tests_of_benches[bench]]
    assert function in there if function else there


def test_every_test_of_a_bench_is_named(tests_of_benches: dict[str, list[str]]) -> None:
    for bench in BENCHES.values():
        assert "coverage" in tests_of_benches[bench.name]
        for test in tests_of_benches[bench.name]:
            assert test == "coverage" or f"{bench.module.replace('.', '/')}.py::{test}" in NAMED
