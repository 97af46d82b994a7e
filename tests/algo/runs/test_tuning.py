"""The search, its runs and their folders, with a table in place of training; test_cli.py trains for real."""

import fcntl
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

from algo.chips.chip import Measurement
from algo.chips.evolver import EvolverChip
from algo.commands.tuning import progress
from algo.published.evolver import INT8_BASELINE, evolver_facts
from algo.runs.config import TuneConfig
from algo.runs.run_folder import CHECKPOINT, TRACE, RunFolder, compare
from algo.runs.tune import check_board, resumed_config, run
from algo.search.methods.planning import planning_params
from algo.search.schedules import SCHEDULES, published_schedule, schedule_of
from algo.search.scoring import score
from algo.search.step import Step
from algo.search.tables.policy_table import TableEvaluator, synthetic_table
from algo.search.unit_searcher import search_with_unit
from algo.space.layers import LayerShape
from algo.space.policy import Policy, PolicySpace
from algo.support.held_folder import INPUTS, RunFolderError
from rtl.spec.params import RLUParams
from sim.devices.device import GoldenDevice
from sim.devices.driver import Driver
from sim.devices.objective import Objective
from sim.devices.shadow import Disagreement
from sim.files import LOCK, FolderInUse, FolderLock
from sim.simulators.simulator import SimDevice
from tests.places import ROOT

CHIP = EvolverChip([LayerShape(f"layer{k}", 10**8, 10**6, 10**4, 10**4) for k in range(3)])
TABLE = synthetic_table(CHIP, layers=3, seed=9)
# Limits that this small network's cheapest policies keep and its dearest do not.
LIMITS = {
    "latency_th_ms": 4.5,
    "latency_low_ms": 1.0,
    "latency_high_ms": 4.5,
    "energy_th_uj": 45.0,
    "energy_low_uj": 7.0,
}


class Retraining(TableEvaluator):
    """A table whose accuracies also depend on all policies before, as with weights that carry over."""

    def __init__(self, table):
        super().__init__(table)
        object.__setattr__(self, "trained", [0])

    def error_std(self, accuracy):
        return 0.0

    def is_cached(self, policy):
        return False

    def accuracy(self, policy, iteration):
        self.trained[0] += sum(policy.weight_bits) * (iteration + 1)
        return super().accuracy(policy, iteration) - self.trained[0] % 97 / 10_000

    def state(self):
        return str(self.trained[0]).encode()

    def restore(self, saved):
        self.trained[0] = int(saved)


def interrupt():
    raise KeyboardInterrupt


def tuned(path, evaluator=None, stop=None, then=interrupt, chip=CHIP, **fields):
    """Run, or resume, a tuning run over the table; ``stop`` ends it, or does what ``then`` says, after so many."""
    config = TuneConfig.of(**({"schedule": "quick", "seed": 5, "method": "rlu"} | LIMITS | fields))
    folder = RunFolder.open(path) if path.exists() else RunFolder.create(path, config.to_json())

    def on_step(step, total):
        if stop is not None and step.iteration + 1 == stop:
            then()

    said = []
    summary = None
    try:
        summary = run(
            config, folder, chip=chip, evaluator=evaluator or Retraining(TABLE), on_step=on_step, say=said.append
        )
    except KeyboardInterrupt:
        assert stop is not None
    return folder, summary, said


@pytest.mark.parametrize("method", ["rlu", "random"])
def test_the_progress_bar_of_a_resumed_run_continues_where_it_was(method, tmp_path):
    folder, _, _ = tuned(tmp_path / "run", method=method)
    best = max(range(33), key=lambda k: folder.steps[k].reward)
    with tqdm(initial=best + 2, file=io.StringIO()) as bar:  # one of these was cut short
        progress(bar, folder.steps[: best + 1])(folder.steps[best + 1], 33)
        assert (bar.n, bar.total) == (best + 2, 33) and f"best={folder.steps[best].reward:.3f}" in bar.postfix
        assert ("epsilon=" in bar.postfix) == (method == "rlu") and "None" not in bar.postfix


def test_the_published_schedule_is_the_published_one():
    schedule = published_schedule()
    assert len(schedule) == 330 and schedule[:90] == (1.0,) * 90 and schedule[-30:] == (0.0,) * 30
    assert schedule[90:120] == (0.875,) * 30 and schedule[299] == 0.125
    assert len(schedule_of("quick")) == 33 and schedule_of("quick")[-1] == 0.0


def test_a_schedule_has_as_many_iterations_as_wanted():
    assert all(len(schedule_of(name, 80)) == 80 for name in SCHEDULES)
    assert {name: len(schedule_of(name)) for name in SCHEDULES} == {
        "published": 330, "quick": 33, "long": 1200, "episodic": 330, "planning": 25
    }  # fmt: skip
    assert schedule_of("published") == published_schedule() and schedule_of("published", 33) == schedule_of("quick")
    assert schedule_of("episodic", 80) == schedule_of("episodic")[:80]  # to end early is to have searched less


@pytest.mark.parametrize(
    "row", [row for row in evolver_facts()["measurements"] if "score" in row], ids=lambda row: row["name"]
)
def test_the_published_scores_come_out_within_0_002(row):
    a, b, c = row["weights_abc"]
    objective = Objective(weight_a=a, weight_l=b, weight_e=c, accuracy_th=0.0)
    assert score(objective, row["accuracy"], row["latency_ms"], row["energy_uj"]) == pytest.approx(
        row["score"], abs=0.002
    )


def test_rtl_and_golden_model_decide_alike(tmp_path):
    golden, of_golden, _ = tuned(tmp_path / "golden", device="golden")
    sim, of_sim, _ = tuned(tmp_path / "sim", device="sim")
    assert (golden.path / TRACE).read_bytes() == (sim.path / TRACE).read_bytes()
    assert compare(RunFolder.open(golden.path), RunFolder.open(sim.path)) is None
    assert of_sim.pop("golden_words_compared") > 33 * 10 and of_golden.pop("golden_words_compared") == 0
    assert of_sim == of_golden


def test_a_unit_that_decides_otherwise_is_noticed(tmp_path, monkeypatch):
    honest = SimDevice.transact

    def one_bit_off(self, ops):
        words = honest(self, ops)
        return [*words[:-1], words[-1] ^ 1] if len(words) > 8 else words

    monkeypatch.setattr(SimDevice, "transact", one_bit_off)
    with pytest.raises(Disagreement):
        tuned(tmp_path / "run", device="sim")


def test_outliers_are_never_trained_and_rewarded_0(tmp_path):
    folder, summary, _ = tuned(tmp_path / "run")
    skipped = [step for step in folder.steps if step.served == "skipped"]
    assert skipped and summary["skipped"] == len(skipped)
    for step in folder.steps:
        misses = step.latency_ms >= LIMITS["latency_th_ms"] or step.energy_uj >= LIMITS["energy_th_uj"]
        assert misses == (step.served == "skipped") == (step.accuracy is None)
        if misses:
            assert step.reward == 0.0


def test_the_summary_is_what_the_trace_says(tmp_path):
    folder, summary, _ = tuned(tmp_path / "run")
    steps = [Step.from_line(line) for line in (folder.path / TRACE).read_text().splitlines()]
    assert steps == folder.steps and len(steps) == 33
    best = max(steps, key=lambda step: step.reward)
    assert summary["best_seen"]["iteration"] == best.iteration
    assert summary["best_seen"]["score"] == pytest.approx(best.reward)
    assert summary["baseline_int8"]["accuracy"] == TABLE.accuracy_of(Policy((8,) * 3, (8,) * 3, 0))
    assert summary["baseline_int8"]["voltage_v"] == CHIP.points[INT8_BASELINE.point].voltage_v
    table = json.loads((folder.path / "q_table.json").read_text())
    assert [len(row) for row in table["rows"]] == [3, 3, 3, 9]
    greedy = [row.index(max(row)) for row in table["rows"]]
    assert summary["found"]["weight_bits"] == list(TABLE.space.decode(greedy).weight_bits)
    assert (folder.path / "learning-curve.png").read_bytes().startswith(b"\x89PNG")


def test_an_episodic_run_deploys_the_best_policy_it_saw(tmp_path):
    settings = {"method": "rlu-plus", "schedule": "episodic", "iterations": 30}
    folder, summary, _ = tuned(tmp_path / "run", **settings)
    assert len(folder.steps) == 30 and summary["iterations"] == 30
    best = max(folder.steps, key=lambda step: step.reward)
    rows = json.loads((folder.path / "q_table.json").read_text())["rows"]
    assert best.actions != tuple(row.index(max(row)) for row in rows)  # else this shows nothing
    assert summary["found_how"] == "best seen, retrained"
    assert summary["found"]["weight_bits"] == list(TABLE.space.decode(best.actions).weight_bits)
    assert tuned(tmp_path / "run", **settings)[2] == [f"{tmp_path / 'run'} is complete; nothing to do"]


@pytest.mark.parametrize("device", ["golden", "sim"])
def test_a_run_in_pieces_ends_in_the_same_bytes(tmp_path, device):
    whole, summary, _ = tuned(tmp_path / "whole")
    for stop in (1, 7, 8, 20):
        tuned(tmp_path / "pieces", device=device, stop=stop)
    pieces, again, said = tuned(tmp_path / "pieces", device=device)
    assert any(" after iteration 19" in text for text in said)
    for name in (TRACE, "q_table.json", "learning-curve.png"):
        assert (pieces.path / name).read_bytes() == (whole.path / name).read_bytes()
    again.pop("golden_words_compared"), summary.pop("golden_words_compared")
    assert again == summary


@pytest.mark.parametrize(("episodes", "iterations", "advised"), [(64, 100, 128), (2, 25, 64), (512, 2000, 1024)])
def test_a_board_whose_unit_forgets_policies_of_the_run_is_refused(episodes, iterations, advised):
    counts = (3, 3, 3, 9)
    wanted = planning_params(counts, iterations)
    board = RLUParams(states=16, actions=9, episodes=episodes, points=9)
    with pytest.raises(
        ValueError,
        match=f"remembers {episodes} policies, and the run has {iterations}: give --iterations {episodes} or fewer, "
        f"or build the board's unit with --episodes {advised}",
    ):
        check_board(board, wanted, iterations)
    check_board(board, planning_params(counts, episodes), episodes)
    check_board(replace(board, episodes=1024), wanted, iterations)  # no unit remembers more


class AtTheThreshold:
    """A chip on which the widest policy takes 3.75 ms at its first point; the unit's rounded costs add up to less."""

    def __getattr__(self, name):
        return getattr(CHIP, name)

    def measure(self, policy):
        added = sum({2: 0.0, 4: 0.25, 8: 0.5}[bits] for bits in policy.weight_bits)
        return Measurement(2.25 + added + 2.0 * (policy.point > 0), 10.0)


class Steep(Retraining):
    def accuracy(self, policy, iteration):
        return 0.95 - 0.05 * sum({8: 0, 4: 1, 2: 2}[bits] for bits in policy.weight_bits)


def test_a_policy_that_misses_a_threshold_is_not_deployed_though_rounded_costs_let_it_pass(tmp_path):
    limits = {"latency_th_ms": 3.75, "latency_high_ms": 5.3, "latency_low_ms": 1.0, "energy_th_uj": 45.0}
    _, summary, _ = tuned(
        tmp_path / "run", Steep(TABLE), chip=AtTheThreshold(), method="planning", schedule="planning",
        objective="0.9,0.1,0", accuracy_th=0.4, **limits,
    )  # fmt: skip
    assert summary["found"]["latency_ms"] < 3.75 and summary["found"]["score"] > 0
    assert summary["found_how"] == "best seen, retrained"


def test_a_complete_run_is_not_run_again(tmp_path):
    folder, summary, _ = tuned(tmp_path / "run")
    before = {path.name: path.stat().st_mtime_ns for path in folder.path.iterdir()}
    _, again, said = tuned(tmp_path / "run")
    assert again == summary and any("complete" in text for text in said)
    assert {path.name: path.stat().st_mtime_ns for path in folder.path.iterdir()} == before


@pytest.mark.parametrize("cut", [1, 30])
def test_a_truncated_line_is_recovered_and_said(tmp_path, cut):
    whole, _, _ = tuned(tmp_path / "whole")
    tuned(tmp_path / "run", stop=10)
    trace = tmp_path / "run" / TRACE
    lines = (whole.path / TRACE).read_bytes().splitlines(keepends=True)
    trace.write_bytes(b"".join(lines[:10]) + lines[10][:-cut])  # killed while the eleventh was written
    _, _, said = tuned(tmp_path / "run")
    assert any("was cut short: its iteration is run again" in text for text in said)
    assert trace.read_bytes() == (whole.path / TRACE).read_bytes()


def test_killed_between_trace_and_checkpoint(tmp_path):
    whole, _, _ = tuned(tmp_path / "whole")
    tuned(tmp_path / "run", stop=10)
    lines = (whole.path / TRACE).read_bytes().splitlines(keepends=True)
    (tmp_path / "run" / TRACE).write_bytes(b"".join(lines[:11]))
    tuned(tmp_path / "run")
    assert (tmp_path / "run" / TRACE).read_bytes() == (whole.path / TRACE).read_bytes()


def test_killed_before_the_first_checkpoint(tmp_path):
    whole, _, _ = tuned(tmp_path / "whole")
    config = TuneConfig.of(schedule="quick", seed=5, method="rlu", **LIMITS).to_json()
    folder = RunFolder.create(tmp_path / "run", config)
    folder.release()
    (folder.path / TRACE).write_bytes((whole.path / TRACE).read_bytes().splitlines(keepends=True)[0])
    tuned(folder.path)
    assert (folder.path / TRACE).read_bytes() == (whole.path / TRACE).read_bytes()


def test_a_trace_shorter_than_its_checkpoint_is_refused(tmp_path):
    tuned(tmp_path / "run", stop=10)
    trace = tmp_path / "run" / TRACE
    trace.write_bytes(b"".join(trace.read_bytes().splitlines(keepends=True)[:6]))
    with pytest.raises(RunFolderError, match="has 6 whole lines, but the checkpoint follows line 10"):
        tuned(tmp_path / "run")


def test_a_missing_checkpoint_costs_nothing(tmp_path):
    folder, _, _ = tuned(tmp_path / "run", stop=10)
    trace = (folder.path / "trace.jsonl").read_bytes()
    (folder.path / "checkpoint.zip").unlink()
    with pytest.raises(
        RunFolderError, match=r"has 10 iterations, but checkpoint\.zip is missing: put it back, or begin"
    ):
        tuned(tmp_path / "run")
    assert (folder.path / "trace.jsonl").read_bytes() == trace


def test_lines_after_an_old_checkpoint_are_put_aside(tmp_path):
    whole, _, _ = tuned(tmp_path / "whole")
    folder, _, _ = tuned(tmp_path / "run", stop=5)
    old = (folder.path / "checkpoint.zip").read_bytes()
    tuned(tmp_path / "run", stop=12)
    (folder.path / "checkpoint.zip").write_bytes(old)
    trace = (folder.path / "trace.jsonl").read_bytes()
    _, _, said = tuned(tmp_path / "run")
    assert any("which has 12: the rest is run again; the trace so far is kept as" in text for text in said)
    assert (folder.path / "trace.jsonl.aside-1").read_bytes() == trace
    assert (folder.path / "trace.jsonl").read_bytes() == (whole.path / "trace.jsonl").read_bytes()


@pytest.mark.parametrize("method", ["rlu", "evolution"])
@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("reward", 0.99, "reward is 0.99, not 0"),
        ("weight_bits", [3] * 3, r"weight_bits is \(3, 3, 3\), not"),
        ("actions", [99] * 4, "row 0 has actions 0..2, not 99"),
        ("iteration", 6, "iteration is 6, not 5"),
        ("latency_ms", 1.5, "latency_ms is 1.5, not"),
    ],
)
def test_a_changed_trace_is_not_resumed(method, field, value, said, tmp_path):
    folder, _, _ = tuned(tmp_path / "run", stop=10, method=method)
    lines = [json.loads(line) for line in (folder.path / "trace.jsonl").read_text().splitlines()]
    changed = 5 if field != "reward" else next(k for k, line in enumerate(lines) if line["reward"])
    lines[changed][field] = value
    (folder.path / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RunFolderError, match=rf"line {changed + 1} of .*trace\.jsonl is not of this run: {said}"):
        tuned(tmp_path / "run", method=method)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    tuned(tmp_path / "run", stop=3)
    path = tmp_path / "run" / CHECKPOINT
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunFolderError, match=r"checkpoint\.zip is damaged"):
        tuned(tmp_path / "run")


def stuck(path):
    """A run that stops, with children of its own that live on, and waits to be killed; see the test below."""

    def wait():
        forked = os.fork()
        if not forked:
            time.sleep(60)
            os._exit(0)
        print(forked, subprocess.Popen(["sleep", "60"]).pid, flush=True)
        sys.stdin.read()

    tuned(Path(path), device="sim", stop=9, then=wait)


def test_a_second_writer_is_refused_by_name_and_a_dead_ones_folder_is_taken_over(tmp_path):
    whole, _, _ = tuned(tmp_path / "whole")
    run_ = tmp_path / "run"
    code = f"from tests.algo.runs.test_tuning import stuck; stuck({str(run_)!r})"
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    left = [int(number) for number in child.stdout.readline().split()]
    try:
        before = (run_ / TRACE).read_bytes()
        assert before.count(b"\n") == 9
        with pytest.raises(ValueError, match=rf"run is in use by process {child.pid} on \S+: wait until it has ended"):
            tuned(run_)
        config = TuneConfig().to_json()
        with pytest.raises(ValueError, match=f"is in use by process {child.pid} on"):
            RunFolder.create(run_, config)
        assert (run_ / TRACE).read_bytes() == before
        assert compare(RunFolder.open(run_), whole).endswith("has 33")  # whoever only reads may
        child.send_signal(signal.SIGKILL)
        child.wait()
        tuned(run_)
    finally:
        for process in left:
            os.kill(process, signal.SIGKILL)  # an error if they had ended, which would show nothing
        child.communicate()
    assert (run_ / TRACE).read_bytes() == (whole.path / TRACE).read_bytes()
    assert not (run_ / LOCK).exists()


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("as it was")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / LOCK).symlink_to(precious)
    with pytest.raises(FolderInUse, match="is a link, not a lock: remove it"):
        FolderLock(tmp_path / "linked")
    assert precious.read_text() == "as it was"


def test_a_lock_on_a_file_that_its_last_owner_has_removed_is_none(tmp_path, monkeypatch):
    first, locked, third = FolderLock(tmp_path), fcntl.flock, []

    def late(*given):
        """The first owner goes, and another comes, between the opening of the file and its locking."""
        monkeypatch.undo()
        first.release()
        third.append(FolderLock(tmp_path))
        locked(*given)

    monkeypatch.setattr("fcntl.flock", late)
    with pytest.raises(FolderInUse, match=f"is in use by process {os.getpid()} on"):
        FolderLock(tmp_path)
    third[0].release()
    with FolderLock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK).read_text().startswith(f"process {os.getpid()} on ")
    assert not list(tmp_path.iterdir())


class Refusing(Retraining):
    def retrained_baseline(self, policy):
        raise ValueError("these data cannot be used")


class Interrupted(Retraining):
    def retrained_baseline(self, policy):
        raise KeyboardInterrupt


def test_a_refused_run_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="these data cannot be used"):
        tuned(tmp_path / "runs" / "a", Refusing(TABLE))
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / LOCK).write_text("process 1 on a host that crashed\n")
    with pytest.raises(ValueError, match="these data cannot be used"):
        folder = RunFolder.create(tmp_path / "mine", TuneConfig().to_json())
        run(TuneConfig(), folder, chip=CHIP, evaluator=Refusing(TABLE))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"] and not list((tmp_path / "mine").iterdir())


def test_what_a_refusal_must_not_remove(tmp_path):
    tuned(tmp_path / "run", Interrupted(TABLE), stop=0)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["seed"] == 5  # it can be resumed
    with pytest.raises(ValueError, match="these data cannot be used"):
        tuned(tmp_path / "run", Refusing(TABLE))
    tuned(tmp_path / "run", stop=3)
    with pytest.raises(ValueError, match="these data cannot be used"):
        tuned(tmp_path / "run", Refusing(TABLE))
    assert len(RunFolder.open(tmp_path / "run").steps) == 3
    other = {"notes.txt": "mine", "config.json": "{}"}
    for name, text in other.items():
        (tmp_path / "used").mkdir(exist_ok=True)
        (tmp_path / "used" / name).write_text(text)
    with pytest.raises(RunFolderError, match="is not empty"):
        RunFolder.create(tmp_path / "used", {})
    assert {path.name: path.read_text() for path in (tmp_path / "used").iterdir()} == other


def network_file(path, hidden):
    """An ONNX model of as many layers as the table's."""
    helper = pytest.importorskip("onnx").helper
    sizes = (16, hidden, hidden, 10)
    weights = [
        helper.make_tensor(f"layer{k}", 1, pair, np.zeros(pair, np.float32).tobytes(), raw=True)
        for k, pair in enumerate(itertools.pairwise(sizes))
    ]
    nodes = [helper.make_node("MatMul", [f"x{k}", f"layer{k}"], [f"x{k + 1}"]) for k in range(3)]
    ends = [helper.make_tensor_value_info(name, 1, [1, size]) for name, size in (("x0", 16), ("x3", 10))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


def test_a_run_is_not_resumed_on_the_layers_of_another_file(tmp_path):
    file = tmp_path / "net.onnx"
    network_file(file, 4000)
    settings = {"chip": None, "chip_network": str(file)}
    whole, _, _ = tuned(tmp_path / "whole", **settings)
    tuned(tmp_path / "run", stop=9, **settings)
    network_file(file, 4001)
    with pytest.raises(RunFolderError, match=r"the layers in .*net\.onnx changed after the run in .*run began"):
        tuned(tmp_path / "run", **settings)
    file.unlink()
    with pytest.raises(
        RunFolderError, match=r"chip_network = '.*net\.onnx', which does not exist: put it back, or write"
    ):
        tuned(tmp_path / "run", **settings)
    network_file(file, 4000)
    tuned(tmp_path / "run", **settings)
    assert (tmp_path / "run" / TRACE).read_bytes() == (whole.path / TRACE).read_bytes()
    # As an earlier version left it.
    tuned(tmp_path / "old", stop=9, **settings)
    (tmp_path / "old" / INPUTS).unlink()
    _, _, said = tuned(tmp_path / "old", **settings)
    assert any(re.search(r"kept no digests: changes in the layers in .* cannot be detected", text) for text in said)
    assert (tmp_path / "old" / TRACE).read_bytes() == (whole.path / TRACE).read_bytes()


def test_another_configuration_is_refused_and_the_field_named(tmp_path):
    folder, _, _ = tuned(tmp_path / "run", stop=2)
    assert resumed_config(folder, {"seed": 5, "schedule": "quick"}).seed == 5
    with pytest.raises(RunFolderError, match="was begun with seed = 5, not 6: leave --seed out"):
        resumed_config(folder, {"schedule": "quick", "seed": 6})
    config = folder.config
    (folder.path / "config.json").write_text(json.dumps(config | {"colour": "red"}))
    with pytest.raises(RunFolderError, match=r"another version, .* this version does not know the field colour"):
        resumed_config(folder, {})
    (folder.path / "config.json").write_text(json.dumps(config | {"format": 3}))
    with pytest.raises(RunFolderError, match="format 3: a newer version made it"):
        resumed_config(folder, {})
    del config["unit"]["alpha"]  # as of a version that had no such setting
    (folder.path / "config.json").write_text(json.dumps(config))
    assert resumed_config(folder, {}) == TuneConfig.of(schedule="quick", seed=5, method="rlu", **LIMITS)


def test_compare_names_the_first_iteration_and_field(tmp_path):
    tuned(tmp_path / "a")
    tuned(tmp_path / "b", stop=12)
    a, b = RunFolder.open(tmp_path / "a"), RunFolder.open(tmp_path / "b")
    assert "has 33 iterations" in compare(a, b)
    lines = (b.path / TRACE).read_text().splitlines()
    step = json.loads(lines[4])
    lines[4] = json.dumps(step | {"reward": 0.123, "q_digest": "0" * 16})
    (b.path / TRACE).write_text("\n".join(lines) + "\n")
    assert compare(a, RunFolder.open(b.path)).startswith("iteration 4: reward is ")


def test_a_full_disk_leaves_the_run_resumable(tmp_path, monkeypatch):
    whole, _, _ = tuned(tmp_path / "whole")
    save = RunFolder.save_checkpoint

    def full(self, *state):
        if len(self.steps) == 9:
            raise OSError(28, "No space left on device")
        save(self, *state)

    monkeypatch.setattr(RunFolder, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space left"):
        tuned(tmp_path / "run")
    monkeypatch.undo()
    tuned(tmp_path / "run")
    assert (tmp_path / "run" / TRACE).read_bytes() == (whole.path / TRACE).read_bytes()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"seed": 0}, r"seed must be in 1\.\.65535 with an LFSR of 16 bits, not 0"),
        ({"seed": 256, "lfsr_width": 8}, r"seed must be in 1\.\.255 with an LFSR of 8 bits, not 256"),
        ({"objective": "0.5,0.5,0.5"}, "the weights a,b,c must sum to 1"),
        ({"objective": "speed"}, "energy, latency or three weights a,b,c, not 'speed'"),
        ({"schedule": "short"}, "schedule must be one of published, quick, long, episodic, planning, not 'short'"),
        ({"alpha": 2.0}, r"alpha must be in 0\.\.1, not 2"),
        ({"lfsr_width": 12}, "lfsr_width must be one of 8, 16, 32, not 12"),
        ({"iterations": 0}, r"iterations must be in 1\.\.100000, not 0"),
        ({"width": 0}, r"width must be in 1\.\.512, not 0"),
        ({"accuracy_th": 70.0}, r"accuracy_th must be a fraction in 0\.\.1, not 70"),
    ],
)
def test_configurations_name_what_is_out_of_range(fields, said):
    with pytest.raises(ValueError, match=said):
        TuneConfig.of(**fields)


def test_policies_round_trip():
    space = PolicySpace.of_bit_widths(layers=4, points=9, activation_choices=(2, 4, 8))
    assert space.action_counts == (9, 9, 9, 9, 9) and space.size == 9**5
    for actions in ((0, 0, 0, 0, 0), (8, 7, 6, 5, 8), (1, 3, 5, 7, 4)):
        assert space.encode(space.decode(actions)) == actions
    assert space.decode((5, 0, 0, 0, 2)) == Policy((8, 2, 2, 2), (4, 2, 2, 2), 2)
    with pytest.raises(ValueError, match=r"row 1 has actions 0\.\.8, not 9"):
        space.decode((0, 9, 0, 0, 0))


def test_the_search_finds_a_good_policy_of_the_table():
    """Not a target, a sanity check: after 330 iterations most seeds end near the table's best score."""
    objective = Objective(accuracy_th=0.0, latency_low_ms=1.0, latency_high_ms=11.0, energy_low_uj=20.0)
    scores = []
    for seed in range(1, 6):
        driver = Driver(GoldenDevice(RLUParams(states=4, actions=9)))
        driver.configure(action_counts=TABLE.space.action_counts, seed=seed, objective=objective)
        steps = list(search_with_unit(driver, TABLE.space, TABLE, TableEvaluator(TABLE), published_schedule()))
        scores.append(steps[-1].reward)
    best = max(
        score(objective, TABLE.accuracy[k], TABLE.latency_ms[k], TABLE.energy_uj[k]) for k in range(TABLE.space.size)
    )
    assert sorted(scores)[2] > 0.95 * best
