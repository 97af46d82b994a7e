"""Configurations: settings by name, options generated from them, and what older versions wrote."""

import dataclasses
import json

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algo.cli import rlu
from algo.report.load import load_runs
from algo.runs.config import PATH_SETTINGS, TuneConfig, chip_network_of, located
from algo.runs.run_folder import CONFIG, SUMMARY, TRACE, RunFolder
from algo.runs.tune import config_of, resumed_config, run
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


@pytest.mark.parametrize("method", ["evolution", "random", "tpe"])
def test_a_search_on_the_host_resumes_to_the_same_bytes(method, tmp_path):
    whole, summary, _ = tuned(tmp_path / "whole", method=method)
    assert summary["found_how"] == "best seen, retrained" and not (whole.path / "q_table.json").exists()
    assert {step.epsilon for step in whole.steps} == {None} and {step.q_digest for step in whole.steps} == {""}
    tuned(tmp_path / "pieces", stop=7, method=method)
    tuned(tmp_path / "pieces", stop=20, method=method)
    tuned(tmp_path / "pieces", method=method)
    for name in (TRACE, SUMMARY):
        assert (tmp_path / "pieces" / name).read_bytes() == (whole.path / name).read_bytes()
    (run,) = load_runs([whole.path])
    assert run.q_history.tables == () and not run.notes


def values_of(one):
    if one.choices:
        return st.sampled_from(one.choices)
    kinds = {bool: st.booleans(), int: st.integers(1, 200), float: st.floats(0, 1, exclude_min=True)}
    return next((s for kind, s in kinds.items() if kind in (one.hint, *getattr(one.hint, "__args__", ()))), st.none())


@given(st.data())
def test_what_is_written_is_read_again(data):
    free = (
        "alpha",
        "gamma",
        "tournament",
        "replays",
        "epochs",
        "width",
        "accuracy_drop",
        "lr_schedule",
        "rows",
        "method",
    )
    drawn = {one.name: data.draw(values_of(one)) for one in settings_of(TuneConfig) if one.name in free[:-1]}
    config = TuneConfig.of(**drawn)
    written = json.loads(json.dumps(config.to_json()))
    assert written["format"] == 2 and TuneConfig.from_json(written) == config
    assert TuneConfig.of(**config.flat) == config
    for name, value in drawn.items():
        assert config.flat[name] == value


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
        ({"unit": "fast"}, "unit must be one of published, episodic, not 'fast'"),
        ({"bit_widths": "8,4"}, "bit_widths must be whole numbers in 2..16 that rise, such as 4,8, not '8,4'"),
        ({"network": "lenet"}, "unknown network 'lenet': choose vgg8, mobilenetv2, resnet34, or FILE.py:FUNCTION"),
        ({"tournament": 0}, "tournament must be in 1..255, not 0"),
        ({"rows": "net"}, "rows must be one of layer, block, not 'net'"),
    ],
)
def test_what_a_setting_may_not_be_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        TuneConfig.of(**fields)


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
    assert load_runs([folder.path])[0].values == tuple(sorted(weights))


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
        (("task", "training"), [], "task.training. must be an object"),
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
