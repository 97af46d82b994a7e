"""The cocotb benches of `tb/`, each in all its configurations."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from sim.simulators.build import Simulator
from tb import run as bench_run
from tb.kit.designs import BENCHES, CONFIGS, ROOT
from tests.require import require_command

RUNS = [(bench.name, config) for bench in BENCHES.values() for config in bench.configs]


def quick(bench: str, config: str) -> bool:
    """Whether a run is in `make test`: where values saturate and tie all the time, and the whole unit at full size."""
    return config == "narrow" or len(BENCHES[bench].configs) == 1 or (bench, config) == ("rlu", "full")


SELECTED = [pytest.param(*run, marks=[] if quick(*run) else pytest.mark.slow) for run in RUNS]
# Icarus sees the same benches, in the configurations that cost it least.
ICARUS_RUNS = [
    pytest.param("reward", "coarse", marks=pytest.mark.slow),
    ("updater", "narrow"),
    ("sampler", "single"),
    ("rlu", "single"),
    pytest.param("rlu", "narrow", marks=pytest.mark.slow),
]


def check(outcome: bench_run.Outcome) -> None:
    print(outcome.text)
    assert outcome.passed, outcome.text
    suite = ElementTree.parse(outcome.folder / "results.xml").getroot()
    assert len(list(suite.iter("testcase"))) >= 2
    assert "100.0 %" in outcome.text
    assert (outcome.folder / "coverage.xml").exists()


Outcomes = dict[tuple[str, str, Simulator], Future[bench_run.Outcome]]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """Every selected run, as many at a time as there are processors; a test waits for its own."""
    selected: list[tuple[str, str, Simulator]] = [
        (item.callspec.params["bench"], item.callspec.params["config"], simulator)
        for item in request.session.items
        if isinstance(item, pytest.Function)
        for function, simulator in (("test_on_verilator", "verilator"), ("test_on_icarus", "icarus"))
        if item.originalname == function and item.module is request.module
    ]
    # Runs of one bench share a build: apart, so that two benches are compiled at the same time.
    selected.sort(key=lambda run: (run[2] == "icarus", BENCHES[run[0]].configs.index(run[1])))
    together = {bench: [config for name, config, _ in selected if name == bench] for bench, _, _ in selected}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        yield {
            (bench, config, simulator): pool.submit(
                bench_run.run, BENCHES[bench], config, simulator=simulator, alongside=together[bench]
            )
            for bench, config, simulator in selected
        }
        pool.shutdown(wait=False, cancel_futures=True)


@pytest.mark.parametrize(("bench", "config"), SELECTED)
def test_on_verilator(bench: str, config: str, outcomes: Outcomes) -> None:
    check(outcomes[bench, config, "verilator"].result())


@pytest.mark.parametrize(("bench", "config"), ICARUS_RUNS)
def test_on_icarus(bench: str, config: str, outcomes: Outcomes) -> None:
    require_command("iverilog", "iverilog")
    check(outcomes[bench, config, "icarus"].result())


def test_every_configuration_is_run() -> None:
    assert {config for _, config in RUNS} == set(CONFIGS)
    files = {path.stem for path in (ROOT / "tb" / "benches").glob("*.py")}
    assert {bench.module.removeprefix("tb.benches.") for bench in BENCHES.values()} <= files


@pytest.mark.slow
def test_waves_are_written(tmp_path: Path) -> None:
    outcome = bench_run.run(BENCHES["row_max"], "single", waves=True, out=tmp_path)
    assert outcome.passed, outcome.text
    vcd = (outcome.folder / "dump.vcd").read_text()
    assert "$enddefinitions" in vcd and "single__index" in vcd


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tb.run", *arguments],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_list() -> None:
    done = command("--list")
    assert done.returncode == 0
    assert all(bench in done.stdout for bench in BENCHES)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "no bench 'nonsense'; there are:\nq_table"),
        ([], "no bench named; there are:\nq_table"),
        (["updater", "--config", "nonsense"], "no configuration 'nonsense'; there are: single, full"),
        (["updater", "--simulator", "vcs"], "--simulator must be one of verilator, icarus, not 'vcs'"),
        (["updater", "--simulator", "icarus", "--waves"], "--waves needs --simulator verilator"),
        (["updater", "--seed", "-1"], "--seed must be in 0..2147483647, not -1"),
        (["updater", "--effort", "0"], "--effort must be in 1..1000, not 0"),
        (["updater", "--config", "full", "--rtl", "nowhere.v"], "there is no file nowhere.v"),
        (["updater", "--rtl", "pyproject.toml"], "--rtl needs --config"),
        (
            ["row_max", "--config", "full", "--rtl", "pyproject.toml"],
            "verilator did not accept pyproject.toml",
        ),
    ],
)
def test_mistakes_are_named(arguments: list[str], said: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_simulator_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nothing/is/here")
    assert bench_run.main(["row_max", "--config", "single", "--simulator", "icarus"]) == 2
    assert (
        capsys.readouterr().err == "error: iverilog, which icarus needs, is not installed: apt-get install iverilog\n"
    )
