"""Configurations: settings by name, options generated from them, and what older versions wrote."""

import dataclasses
import json
import re
from types import NoneType
from typing import get_args

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algo.chips.evolver import EvolverChip
from algo.chips.table import layer_table
from algo.cli import rlu
from algo.nets.registry import NETWORKS
from algo.published.evolver import INT8_BASELINE
from algo.report.load import load_runs
from algo.runs.config import PATH_SETTINGS, UNITS, TuneConfig, chip_network_of, located
from algo.runs.run_folder import CHECKPOINT, SUMMARY, TRACE, RunFolder
from algo.runs.summary_text import summary_table
from algo.runs.tune import config_of, resumed_config, run
from algo.search.methods.registry import METHODS
from algo.search.schedules import schedule_of
from algo.search.searcher import BELIEVED
from algo.support.held_folder import CONFIG, RunFolderError
from algo.support.settings import settings_of
from tests.algo.runs.test_tuning import LIMITS, tuned
from tests.report_runs import MadeUp

#: ``config.json`` as it was before it had a format number, with every field that it had.
FORMAT_1 = {
    "device": "golden", "simulator": "verilator", "bus": "none", "chip": "evolver", "chip_network": "vgg8",
    "data": "digits", "data_folder": None, "local_size": None, "noise_std": None, "schedule": "quick",
    "iterations": None, "seed": 5, "objective": "energy", "accuracy_th": None, "accuracy_drop": 0.02,
    "latency_th_ms": 20.0, "energy_th_uj": 300.0, "latency_low_ms": 3.9, "latency_high_ms": 10.58,
    "energy_low_uj": 41.06, "energy_high_uj": None, "weights": "carried", "activations": "fixed",
    "activation_range": "minmax", "fold_batch_norm": False, "width": 8, "epochs": 1, "lr_schedule": "constant",
    "lr_k": 2.0, "alpha": 0.25, "gamma": 0.99, "lfsr_width": 16, "full_last_reward": False, "unit": "published",
    "threads": 2,
}  # fmt: skip


@pytest.mark.parametrize("unit", ["published", "episodic"])
def test_a_run_that_an_earlier_version_began_opens_resumes_and_reports(unit, tmp_path):
    method = {"published": "rlu", "episodic": "rlu-plus"}[unit]
    whole, _, _ = tuned(tmp_path / "whole", method=method)
    tuned(tmp_path / "old", stop=9, method=method)
    (tmp_path / "old" / CONFIG).write_text(json.dumps(FORMAT_1 | LIMITS | {"unit": unit}))
    opened = RunFolder.open(tmp_path / "old")
    config = resumed_config(opened, {"seed": 5, "unit": unit})
    assert config.search.method == method and config.chip.chip_network == "vgg8"
    assert config.but(chip_network=None, width=None) == TuneConfig.of(schedule="quick", seed=5, method=method, **LIMITS)
    assert load_runs([tmp_path / "old"])[0].config["latency_th_ms"] == LIMITS.get("latency_th_ms", 20.0)
    tuned(tmp_path / "old", method=method)
    for name in (TRACE, SUMMARY):
        assert (tmp_path / "old" / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.parametrize("method", ["evolution", "random", "tpe", "bayes-linear"])
def test_a_search_on_the_host_resumes_to_the_same_bytes(method, tmp_path):
    whole, summary, _ = tuned(tmp_path / "whole", method=method)
    assert summary["found_how"] == (BELIEVED if method == "bayes-linear" else "best seen, retrained")
    assert f"found ({summary['found_how']})" in summary_table(summary) and not (whole.path / "q_table.json").exists()
    assert {step.epsilon for step in whole.steps} == {None} and {step.q_digest for step in whole.steps} == {""}
    tuned(tmp_path / "pieces", stop=7, method=method)
    tuned(tmp_path / "pieces", stop=20, method=method)
    tuned(tmp_path / "pieces", method=method)
    for name in (TRACE, SUMMARY):
        assert (tmp_path / "pieces" / name).read_bytes() == (whole.path / name).read_bytes()
    (run,) = load_runs([whole.path])
    assert run.q_history.tables == () and not run.notes


@pytest.mark.parametrize("method", ["random", "tpe", "evolution", "nsga2-pareto"])
def test_a_damaged_state_of_a_search_on_the_host_is_refused(method, tmp_path):
    folder, _, _ = tuned(tmp_path / "run", method=method, stop=3)
    _, state, evaluator = folder.read_checkpoint()
    one, two, three = state["told"]
    for told, said in (
        ([one], "the saved search holds 1 policies, not 3"),
        ([one, two, three, one], "the saved search holds 4 policies, not 3"),
        ({}, "told of the saved search must be a list, each item a list"),
        ([one, two, 5], "told of the saved search must be a list, each item a list"),
        ([one, two, three[:4]], "policy 2 of the saved search has no score"),
        ([one, two, [*three, 0]], "policy 2 of the saved search has 6 values, not 5"),
        ([one, ["x", *two[1:]], three], "actions of policy 1 of the saved search must be a list"),
        ([one, [[99], *two[1:]], three], "policy 1 of the saved search is not the one that"),
        (
            [one, [*two[:1], "x", *two[2:]], three],
            "accuracy of policy 1 of .* must be a finite number or null, not 'x'",
        ),
        ([one, [*two[:2], None, *two[3:]], three], "latency_ms of policy 1 of .* must be a finite number, not None"),
        ([one, [*two[:3], [], *two[4:]], three], "energy_uj of policy 1 of the saved search must be a finite number"),
        ([one, [*two[:4], None], three], "score of policy 1 of the saved search must be a finite number, not None"),
    ):
        folder.save_checkpoint(state | {"told": told}, evaluator)
        with pytest.raises(RunFolderError, match=said) as caught:
            tuned(folder.path, method=method)
        assert str(folder.path / CHECKPOINT) in str(caught.value)


#: Values of settings that are text, or limited by one another.
TEXT_OR_TIED = {
    "device": st.sampled_from(["golden", "sim", "serial:/dev/ttyUSB0@9600"]),
    "method": st.sampled_from(list(METHODS)),
    "objective": st.sampled_from(["energy", "latency", "0.25,0,0.75"]),
    "bit_widths": st.sampled_from([None, "8", "2,4,8"]),
    "data": st.sampled_from(["digits", "cifar100", "/my/images.npz"]),
    "network": st.sampled_from([*NETWORKS, "/my/net.py:make"]),
    "chip": st.sampled_from(["evolver", "chip.yaml"]),
    **dict.fromkeys(("latency_low_ms", "energy_low_uj"), st.floats(0, 10)),
    **dict.fromkeys(("latency_high_ms", "energy_high_uj"), st.floats(20, 30)),
    **dict.fromkeys(("latency_th_ms", "energy_th_uj"), st.floats(5, 100)),
    **dict.fromkeys(("data_folder", "chip_network"), st.none() | st.sampled_from(["vgg8", "/else/where"])),
}


def values_of(one):
    """Values that a setting may have."""
    if one.name in TEXT_OR_TIED:
        return TEXT_OR_TIED[one.name]
    if one.choices:
        return st.sampled_from(one.choices)
    numbers = st.integers(int(max(one.low, 1)), int(min(one.high, 200)))
    fractions = st.floats(max(one.low, 0), min(one.high, 1), exclude_min=True, exclude_max=True)
    kinds = {bool: st.booleans(), int: numbers, float: fractions}
    parts = [one.hint, *get_args(one.hint)]
    (kind,) = [kind for kind in kinds if kind in parts]
    return st.none() | kinds[kind] if NoneType in parts else kinds[kind]


@given(st.data())
def test_what_is_written_is_read_again(data):
    drawn = {one.name: data.draw(values_of(one), one.name) for one in settings_of(TuneConfig)}
    if drawn["method"] not in UNITS:
        drawn["device"] = "golden"
    if drawn["device"] != "sim":
        drawn["bus"] = "none"
    config = TuneConfig.of(**drawn)
    assert config.flat == drawn and TuneConfig.of(**config.flat) == config
    written = json.loads(json.dumps(config.to_json()))
    assert written["format"] == 2 and TuneConfig.from_json(written) == config
    missing = data.draw(st.sampled_from(list(settings_of(TuneConfig))))
    inner = written
    for part in missing.path[:-1]:
        inner = inner[part]
    del inner[missing.path[-1]]
    if missing.name not in (*TEXT_OR_TIED, "lfsr_width", "schedule", "weights"):  # others may need their values
        assert TuneConfig.from_json(written).flat == drawn | {missing.name: missing.default}


@pytest.mark.parametrize(
    ("fields", "schedule"),
    [
        ({}, "planning"),
        ({"unit": "published"}, "published"),
        ({"method": "tpe"}, "published"),
        ({"method": "rlu-plus"}, "episodic"),
        ({"unit": "episodic"}, "episodic"),
        ({"unit": "episodic", "schedule": "quick"}, "quick"),
    ],
)
def test_the_schedule_suits_the_method_and_is_written_down(fields, schedule):
    config = TuneConfig.of(**fields)
    assert config.search.schedule == schedule and config.to_json()["search"]["schedule"] == schedule
    assert config.epsilons == schedule_of(schedule) and config.but(iterations=7).epsilons == schedule_of(schedule, 7)
    assert TuneConfig.from_json(config.to_json()) == config
    written = config.to_json()
    if "schedule" not in fields:  # as where none was written
        del written["search"]["schedule"]
        assert TuneConfig.from_json(written) == config


def test_a_unit_that_plans_says_what_it_predicts_of_the_policy_found(tmp_path):
    folder, summary, _ = tuned(tmp_path / "run", method="planning", schedule="planning", iterations=12)
    predicted = folder.summary["found_predicted"]
    assert summary["found_how"] == "best by the unit's prediction, retrained"
    assert len(predicted["trials"]) == len(summary["found"]["weight_bits"]) + 1 and max(predicted["trials"]) <= 12
    assert abs(predicted["accuracy"] - summary["found"]["accuracy"]) < 0.02
    assert f"predicted for the policy found: {predicted['accuracy']:.3f}; its" in summary_table(summary)
    assert not (folder.path / "q_table.json").exists()


@pytest.mark.parametrize(
    ("method", "weights"),
    [("planning", "restarted"), ("evolution", "restarted"), ("rlu", "carried"), ("rlu-plus", "carried")],
)
def test_weights_are_carried_where_they_were_as_published(method, weights):
    config = TuneConfig.of(method=method)
    assert config.task.weights == weights and TuneConfig.from_json(config.to_json()) == config
    written = config.to_json()
    del written["task"]["weights"]  # as in a folder from before there was a choice
    assert TuneConfig.from_json(written).task.weights == weights
    for chosen in ("carried", "restarted"):
        assert TuneConfig.of(method=method, weights=chosen).task.weights == chosen


def test_every_setting_with_a_help_text_is_an_option_with_its_default():
    options = {option.name: option for option in rlu.commands["tune"].params if isinstance(option, click.Option)}
    names = [one.name for one in settings_of(TuneConfig)]
    assert len(names) == len(set(names))
    for one in settings_of(TuneConfig):
        assert (one.name in options) == bool(one.help), one.name
        if one.help:
            assert options[one.name].default == one.default and one.flag in options[one.name].opts


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"colour": "red"}, "unknown setting 'colour': the settings are device, simulator"),
        ({"method": "annealing"}, "unknown method 'annealing': choose from rlu, rlu-plus"),
        (
            {"method": "tpe", "device": "sim"},
            "does not use the unit: leave out --device sim",
        ),
        ({"unit": "episodic", "method": "tpe"}, "unit episodic is the method rlu-plus, not tpe"),
        ({"unit": "fast"}, "unit must be one of published, episodic, planning, not 'fast'"),
        ({"bit_widths": "8,4"}, "bit_widths must be whole numbers in 2..16 that rise, such as 4,8, not '8,4'"),
        ({"network": "lenet"}, "unknown network 'lenet': choose vgg8, mobilenetv2, resnet34, or FILE.py:FUNCTION"),
        ({"tournament": 0}, "tournament must be in 1..255, not 0"),
        ({"rows": "net"}, "rows must be one of layer, block, not 'net'"),
        ({"iterations": 10**400}, r"iterations must be in 1\.\.100000, not 1000"),
        ({"lr_k": 200.0}, r"lr_k \(--k\) must be above 0 and at most 100, not 200"),
        ({"lr_k": 0.0}, r"lr_k \(--k\) must be above 0 and at most 100, not 0"),
        ({"epochs": 0}, r"epochs_per_iteration \(--epochs\) must be in 1\.\.1000, not 0"),
        ({"latency_th_ms": "low"}, r"latency_th_ms \(--latency-th\) must be a finite number, not 'low'"),
        ({"bit_widths": "1_0"}, "bit_widths must be whole numbers in 2..16 that rise, such as 4,8, not '1_0'"),
        ({"bit_widths": "4,,8"}, "bit_widths must be whole numbers in 2..16 that rise, such as 4,8, not '4,,8'"),
    ],
)
def test_what_a_setting_may_not_be_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        TuneConfig.of(**fields)


@pytest.mark.parametrize("one", list(settings_of(TuneConfig)), ids=lambda one: one.name)
def test_a_setting_takes_a_value_or_refuses_it_in_words(one):
    for value in (10**400, -(10**400), float("nan"), -1, "", "9" * 400, True, []):
        try:
            TuneConfig.of(**{one.name: value})
        except ValueError as error:
            assert len(str(error)) < 1000


def test_lists_with_spaces_are_the_same_on_resume(tmp_path):
    config = located(TuneConfig.of(schedule="quick", bit_widths="4, 8", objective="0.25, 0.10, 0.65", **LIMITS))
    assert (config.search.bit_widths, config.objective.objective) == ("4,8", "0.25,0.10,0.65")
    folder = RunFolder.create(tmp_path / "run", config.to_json())
    assert resumed_config(folder, {"bit_widths": " 4,8", "objective": "0.25,0.10, 0.65"}) == config
    with pytest.raises(ValueError, match="was begun with bit_widths = '4,8', not '8': leave --bit-widths out"):
        resumed_config(folder, {"bit_widths": "8"})
    with pytest.raises(ValueError, match=r"was begun with lr_k = 2\.0, not 3\.0: leave --k out"):
        resumed_config(folder, {"lr_k": 3.0})


def test_bit_widths_can_be_limited_to_some_that_the_chip_knows(tmp_path):
    folder, _, _ = tuned(tmp_path / "run", bit_widths="4,8")
    assert {bits for step in folder.steps for bits in step.chosen["weight_bits"]} == {4, 8}
    with pytest.raises(ValueError, match="no layer of the chip knows 6 bits"):
        tuned(tmp_path / "other", bit_widths="4,6")


DESCRIBED = """
model: bit-scalable
operating_points: [{voltage_v: 0.8, frequency_mhz: 200}, {voltage_v: 1.0, frequency_mhz: 400}]
constants:
  {macs_per_cycle: 256, memory_gbit_per_s: 50, mac_energy_pj: 0.1, leakage_mw: 1, memory_energy_pj_per_bit: 0.2}
"""


@pytest.mark.parametrize(
    ("said", "weights", "first", "activations"),
    [
        ("bit_widths: [4, 8]", {4, 8}, {4, 8}, {8}),
        ("bit_widths: [2, 4, 6, 8]", {2, 4, 6, 8}, {2, 4, 6, 8}, {8}),
        ("bit_widths: [3, 5]", {3, 5}, {3, 5}, {5}),
        ("bit_widths: [2, 3, 4, 5, 6, 7]\nlayer_bit_widths: {conv1: [8]}", {2, 3, 4, 5, 6, 7, 8}, {8}, {7, 8}),
    ],
)
def test_a_chip_of_ones_own_is_searched_over_its_own_bit_widths(said, weights, first, activations, tmp_path):
    """The run ends, and takes its figures from the folder when the description is gone."""
    path = tmp_path / "own.yaml"
    path.write_text(DESCRIBED + said)
    config = TuneConfig.of(chip=str(path), iterations=60, accuracy_drop=0.5)
    folder = RunFolder.create(tmp_path / "run", config.to_json())

    def stop(step, total):
        if step.iteration == 39:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, folder, evaluator=MadeUp(8), on_step=stop, say=lambda text: None)
    path.unlink()
    summary = run(config, RunFolder.open(folder.path), evaluator=MadeUp(8), say=lambda text: None)
    steps = RunFolder.open(folder.path).steps
    assert {bits for step in steps for bits in step.chosen["weight_bits"]} == weights
    assert {step.chosen["weight_bits"][0] for step in steps} == first
    assert {bits for step in steps for bits in step.chosen["activation_bits"]} == activations
    assert set(summary["found"]["weight_bits"]) <= weights
    (shown,) = load_runs([folder.path])
    assert shown.values == tuple(sorted(weights))
    eight = all(8 in known for known in (first, weights - first, activations) if known)
    assert shown.savings.baseline_name == ("INT8" if eight else "the baseline")
    assert ("INT8 baseline" in summary_table(summary)) == eight


class Asked(MadeUp):
    """Remembers the policy that it was asked for as the baseline."""

    def retrained_baseline(self, policy):
        self.baseline = policy
        return 0.9


def begun(path, **settings):
    """Summary and evaluator of a short run, and the chip's figures of the policy that was trained as baseline."""
    evaluator = Asked(8)
    config = TuneConfig.of(iterations=3, accuracy_drop=0.9, **settings)
    summary = run(config, RunFolder.create(path, config.to_json()), evaluator=evaluator, say=lambda text: None)
    return summary, evaluator.baseline


@pytest.mark.parametrize("widths", [None, "2,4", "4"])
def test_the_baseline_is_measured_under_the_bit_widths_that_it_is_trained_with(widths, tmp_path):
    """It has 8 bits if the chip knows them, whatever the search may choose from and whatever form the chip is in."""
    (tmp_path / "own.csv").write_text(layer_table(EvolverChip()).to_csv())
    cost = EvolverChip().measure(INT8_BASELINE)
    for name, chip in (("model", "evolver"), ("table", str(tmp_path / "own.csv"))):
        summary, trained = begun(tmp_path / name, bit_widths=widths, chip=chip)
        shown = summary["baseline_int8"]
        assert trained == INT8_BASELINE and shown["weight_bits"] == shown["activation_bits"] == [8] * 8
        assert (shown["latency_ms"], shown["energy_uj"]) == pytest.approx((cost.latency_ms, cost.energy_uj), rel=1e-12)


def test_a_layer_with_one_bit_width_keeps_it_whatever_the_search_may_choose_from(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(DESCRIBED + "bit_widths: [4, 6, 8]\nlayer_bit_widths: {conv1: [8], conv2: [4, 8]}")
    begun(tmp_path / "run", chip=str(path), bit_widths="4,6")
    steps = RunFolder.open(tmp_path / "run").steps
    assert [set(column) for column in zip(*(s.chosen["weight_bits"] for s in steps), strict=True)][:2] == [{8}, {4}]
    with pytest.raises(ValueError, match="layer conv2: the chip knows weight bits of 4, 8, and none of 6: add one"):
        begun(tmp_path / "other", chip=str(path), bit_widths="6")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bit_widths": "4,7"}, "no layer of the chip knows 7 bits"),
        ({"rows": "block"}, r"none of the layers is in a block \(blocks.0"),
        ({"points": 20}, "chip has 20 operating points to choose from, and a row of the unit has at most 16 actions"),
    ],
)
def test_what_cannot_be_searched_is_said_before_the_network_is_trained(settings, said, tmp_path):
    chip = "evolver"
    if points := settings.pop("points", None):
        pairs = ", ".join(f"{{voltage_v: 0.8, frequency_mhz: {100 + point}}}" for point in range(points))
        (tmp_path / "own.yaml").write_text(
            re.sub(r"operating_points: .*", f"operating_points: [{pairs}]", DESCRIBED) + "bit_widths: [4, 8]"
        )
        chip = str(tmp_path / "own.yaml")
    config = TuneConfig.of(chip=chip, iterations=3, **settings)
    heard = []
    with pytest.raises(ValueError, match=said):
        run(config, RunFolder.create(tmp_path / "run", config.to_json()), say=heard.append)
    assert not any("pre-training" in text for text in heard)
    if points:  # a search without a unit takes them
        begun(tmp_path / "host", chip=chip, method="random")
        assert RunFolder.open(tmp_path / "host").steps


def test_the_chips_network_is_the_trained_one_unless_another_is_named():
    assert chip_network_of(TuneConfig()) == "vgg8"
    assert chip_network_of(TuneConfig.of(network="resnet34")) == "resnet34"
    assert chip_network_of(TuneConfig.of(network="resnet34", chip_network="net.onnx")) == "net.onnx"
    assert chip_network_of(TuneConfig.of(network="net.py:make")) is None


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = located(TuneConfig.of(data="my.npz", network="net.py:make", chip="chip.yaml", chip_network="vgg8:2x1x10"))
    assert config.task.data == str(tmp_path / "my.npz") and config.task.network == f"{tmp_path / 'net.py'}:make"
    assert config.chip.chip == str(tmp_path / "chip.yaml") and config.chip.chip_network == "vgg8:2x1x10"
    assert set(PATH_SETTINGS) <= set(config.flat)


def test_a_damaged_configuration_names_the_field(tmp_path):
    folder, _, _ = tuned(tmp_path / "run", stop=3)
    for path, value, said in (
        (("unit", "alpha"), 2, "alpha must be in 0..1, not 2"),
        (("task", "training"), [], "task.training must be an object"),
        (("format",), 3, "it has format 3: a newer version made it"),
        (("format",), 0, "its format must be a whole number from 1, not 0"),
        (("format",), "2", "its format must be a whole number from 1, not '2'"),
        (("format",), True, "its format must be a whole number from 1, not True"),
        (("task", "colour"), 1, "does not know the field task.colour"),
    ):
        config = TuneConfig.of(schedule="quick", seed=5, **LIMITS).to_json()
        inner = config
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = value
        (folder.path / CONFIG).write_text(json.dumps(config))
        with pytest.raises(ValueError, match=said):
            config_of(folder)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TuneConfig().unit.alpha = 1.0
