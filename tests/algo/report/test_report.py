"""The HTML report: its figures are the run's, nothing is loaded, nothing invented, and bad runs are told apart."""

import dataclasses
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algo.chips.evolver import EvolverChip
from algo.chips.layer_csv import TableChip, read_csv
from algo.cli import main
from algo.published.evolver import evolver_facts, vgg8_layers
from algo.published.scores import published_scores
from algo.report.facts import Deployment, Savings, pareto_front
from algo.report.figures import frame_iterations, learning_curve
from algo.report.load import load_runs
from algo.report.page import against, facts_as_json, page, repeat_command, whole
from algo.report.svg import ticks
from algo.runs.config import TuneConfig
from algo.runs.q_replay import q_history
from algo.runs.run_folder import CHECKPOINT, Q_TABLE, SUMMARY, TRACE, RunFolder
from algo.runs.tune import config_of
from algo.search.schedules import schedule_of
from algo.search.step import Step
from algo.space.layers import LayerShape
from algo.support.held_folder import CONFIG, RunFolderError
from sim.devices.driver import q_digest
from tests.places import ROOT
from tests.report_runs import make_run

SMALL_CHIP = EvolverChip([LayerShape(f"layer{k}", 10**8, 10**6, 10**4, 10**4) for k in range(3)])


def rlu(*arguments, **options):
    command = [sys.executable, "-m", "algo.cli", *map(str, arguments)]
    options = {"env": os.environ | {"PYTHONPATH": str(ROOT)}} | options
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


class Elements(HTMLParser):
    """Start tags with their attributes, and the text of every table row as a list of cells."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.rows, self.visible = [], [], ""
        self._cell = self._hidden = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        self._cell = tag in ("td", "th")
        if self._cell:
            self.rows[-1].append("")
        self._hidden = tag in ("style", "script")

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")
        self._hidden = False

    def handle_data(self, text):
        if self._cell:
            self.rows[-1][-1] += text
        if not self._hidden:
            self.visible += text


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of 330 iterations."""
    return make_run(tmp_path_factory.mktemp("runs") / "finished")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """An unfinished one, of 20 iterations."""
    return make_run(tmp_path_factory.mktemp("runs") / "stopped", stop=20)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A finished one of 33."""
    return make_run(tmp_path_factory.mktemp("runs") / "short", schedule="quick")


@pytest.fixture
def copy(short, tmp_path):
    """The short run, to be damaged."""
    return Path(shutil.copytree(short, tmp_path / "copy"))


def steps_of(path):
    return [Step.from_line(line) for line in (path / TRACE).read_text().splitlines()]


def change_line(path, number, **fields):
    lines = (path / TRACE).read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | fields)
    (path / TRACE).write_text("\n".join(lines) + "\n")


def test_the_policy_found_is_named_for_how_it_was_found(tmp_path):
    run = make_run(tmp_path / "run", method="rlu-plus", schedule="episodic", iterations=20)
    assert load_runs([run])[0].planned == 20
    names = [row[0] for row in Elements(page(load_runs([run]))).rows if row]
    assert "found (best seen, retrained)" in names and "found (greedy)" not in names


@pytest.mark.parametrize("name", ["latency_th_ms", "seed", "method"])
def test_a_setting_that_a_version_lacked_has_its_default(copy, name):
    """Of a run of format 1, and of one of this format."""
    path = {"latency_th_ms": ["objective"], "seed": [], "method": ["search"]}[name]
    for config in (TuneConfig.of(schedule="quick").flat, json.loads((copy / CONFIG).read_text())):
        inner = config
        for part in path if "format" in config else []:
            inner = inner[part]
        del inner[name]
        (copy / CONFIG).write_text(json.dumps(config))
        (run,) = load_runs([copy])
        assert run.config[name] == {**TuneConfig().flat, "method": "rlu"}[name] and page([run])


def test_a_page_names_no_folder_of_this_machine(copy):
    config = json.loads((copy / CONFIG).read_text())
    config["task"]["data"] = "/home/user/secret/my.npz"
    (copy / CONFIG).write_text(json.dumps(config))
    made = page(load_runs([copy]))
    assert "my.npz" in made and "/home/user" not in made


def test_the_figures_are_those_of_the_summary(finished):
    summary = json.loads((finished / SUMMARY).read_text())
    rows = {row[0]: row[1:] for row in Elements(page(load_runs([finished]))).rows if row}
    best = summary["best_seen"]
    for name, told in (
        ("INT8 baseline", summary["baseline_int8"]),
        ("found (greedy)", summary["found"]),
        (f"best seen (iteration {best['iteration']})", best),
    ):
        size = sum(b * layer.weights for b, layer in zip(told["weight_bits"], EvolverChip().layers, strict=True)) / 8e6
        assert rows[name] == [
            f"{told['accuracy']:.3f}", f"{told['latency_ms']:.2f}", f"{told['energy_uj']:.2f}", f"{size:.2f}",
            f"{told['voltage_v']:.2f}", f"{told['frequency_mhz']:g}", f"{told['score']:.3f}",
        ]  # fmt: skip
    for name, key in (("INT8", "baseline_int8"), ("found", "found"), ("best seen", "best_seen")):
        point = [f"{summary[key]['voltage_v']:.2f}", f"{summary[key]['frequency_mhz']:g}"]
        assert rows[name] == [*map(str, summary[key]["weight_bits"]), *point]
    steps = steps_of(finished)
    skipped = sum(step.served == "skipped" for step in steps)
    assert skipped == summary["skipped"] > 0
    html = Elements(page(load_runs([finished]))).visible
    assert f"{skipped} of 330 policies" in html and f"{summary['trained']} were trained" in html


def test_the_command_writes_the_page_and_one_json_object(finished, tmp_path):
    done = rlu("report", finished, "-o", tmp_path / "page.html", "--json")
    assert done.returncode == 0 and done.stderr == ""
    told = json.loads(done.stdout)
    assert told["page"] == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == page(load_runs([finished]))
    (run,) = told["runs"]
    summary = json.loads((finished / SUMMARY).read_text())
    for name, key in (("INT8", "baseline_int8"), ("found", "found"), ("best seen", "best_seen")):
        assert {k: summary[key][k] for k in ("accuracy", "latency_ms", "energy_uj", "score")}.items() <= run[
            "deployments"
        ][name].items()
    assert run["finished"] and run["skipped"] == summary["skipped"] and run["trained"] == summary["trained"]
    assert run["q_table"] == {"replayed": 330, "last_matches": True, "mismatch": None}


def test_a_single_runs_page_goes_to_its_folder(copy, capsys):
    main(["report", str(copy)])
    assert capsys.readouterr().out == f"{copy / 'report.html'}: copy\n"
    assert (copy / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_a_report_takes_less_than_5_s_of_one_core_and_brings_neither_torch_nor_matplotlib(finished, tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = (
        "import sys; from algo.cli import main\n"
        f"main(['report', {str(finished)!r}, '-o', {str(tmp_path / 'page.html')!r}])\n"
        "sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


def test_nothing_is_loaded_from_anywhere(short, stopped):
    html = page(load_runs([short, stopped]))
    assert not re.search(r"https?:|url\(|@import|\bfetch\(|XMLHttpRequest|\bimport\(", html)
    for tag, attributes in Elements(html).tags:
        assert tag not in ("iframe", "object", "embed", "img", "base", "audio", "video")
        assert "src" not in attributes
        target = attributes.get("href")
        assert target is None or (tag, target) == ("link", "data:,") or (tag == "a" and target.startswith("#"))


def test_every_link_within_the_page_and_every_picture_has_its_words(short, stopped):
    tags = Elements(page(load_runs([short, stopped]))).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = [attributes["href"] for tag, attributes in tags if tag == "a"]
    assert links and {link.removeprefix("#") for link in links} <= set(ids)
    pictures = [attributes for tag, attributes in tags if tag == "svg"]
    assert len(pictures) > 20
    for attributes in pictures:
        assert attributes.get("aria-hidden") == "true" or len(attributes["aria-label"]) > 20


def test_the_same_runs_give_the_same_bytes(short, stopped):
    assert page(load_runs([short, stopped])) == page(load_runs([short, stopped]))


def test_hostile_names_stay_words(tmp_path):
    evil = "\"><img src=x onerror=alert(1)><script>alert('2')<"
    path = make_run(tmp_path / evil, source=f"{evil}/script>", schedule="quick")
    config = json.loads((path / CONFIG).read_text())
    config["task"]["data"] = evil
    (path / CONFIG).write_text(json.dumps(config))
    elements = Elements(page(load_runs([path])))
    assert [tag for tag, _ in elements.tags].count("script") == 1
    assert not any(tag == "img" or "onerror" in attributes for tag, attributes in elements.tags)
    assert elements.visible.count(evil) >= 4


def test_the_replayed_q_table_is_the_units_own(finished):
    steps = steps_of(finished)
    history = q_history(finished, steps, config_of(RunFolder.open(finished)))
    assert history.mismatch == "" and history.last_matches is True
    assert [q_digest(table) for table in history.tables] == [step.q_digest for step in steps]
    stored = json.loads((finished / Q_TABLE).read_text())
    assert [list(row) for row in history.tables[-1]] == stored["rows"] and history.q_frac == stored["q_frac"]


def test_without_a_checkpoint_the_last_q_table_says_how_many_actions_there_are(copy):
    (copy / CHECKPOINT).unlink()
    assert load_runs([copy])[0].q_history.last_matches is True
    (copy / Q_TABLE).unlink()
    run = load_runs([copy])[0]
    assert run.q_history.tables == () and "neither" in run.q_history.mismatch
    assert "cannot be shown" in page([run])


def test_a_trace_that_was_changed_is_found_out(copy, tmp_path):
    rewarded = [step.iteration for step in steps_of(copy) if step.reward > 0][5]
    change_line(copy, rewarded, reward=0.5)
    done = rlu("report", copy, "-o", tmp_path / "page.html", "--json")
    assert done.returncode == 1 and f"from iteration {rewarded} on" in done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert run["q_table"]["replayed"] == rewarded and run["q_table"]["last_matches"] is None
    html = (tmp_path / "page.html").read_text()
    assert f"from iteration {rewarded} on" in html and f"{rewarded} of 33 Q-tables" in html


def test_a_last_q_table_that_was_changed_is_found_out(copy):
    stored = json.loads((copy / Q_TABLE).read_text())
    stored["rows"][0][0] += 1
    (copy / Q_TABLE).write_text(json.dumps(stored))
    run = load_runs([copy])[0]
    assert run.q_history.last_matches is False and "not the Q-table that the trace ends with" in run.notes[-1]
    (copy / Q_TABLE).write_text("{")
    assert "q_table.json is damaged" in load_runs([copy])[0].notes[-1]


def test_an_unfinished_run_is_reported_as_one(stopped):
    run = load_runs([stopped])[0]
    assert not run.finished and run.savings is None
    assert [item.name for item in run.deployments] == ["best seen"]
    words = Elements(page([run])).visible
    assert "Unfinished, after 20 of 330 iterations" in words and f"rlu tune --resume --out {stopped}" in words
    assert "20 of 20 Q-tables" in words and "unknown until the run is finished" in words


def test_a_trace_cut_short_or_damaged_is_reported_up_to_there(copy):
    content = (copy / TRACE).read_bytes()
    (copy / TRACE).write_bytes(content[:-30])
    run = load_runs([copy])[0]
    assert len(run.steps) == 32 and "cut short" in run.notes[0] and "reports 33 iterations" in run.notes[1]
    lines = content.splitlines(keepends=True)
    (copy / TRACE).write_bytes(b"".join([*lines[:20], b'{"iteration": 20\xff\n', *lines[21:]]))
    run = load_runs([copy])[0]
    assert len(run.steps) == 20 and "line 21" in run.notes[0]
    assert "line 21" in Elements(page([run])).visible


@pytest.mark.parametrize(
    "fields",
    [
        {"iteration": 9}, {"latency_ms": "1"}, {"latency_ms": -1.0}, {"energy_uj": -1}, {"accuracy": 1.5},
        {"accuracy": None, "served": "trained"}, {"served": "guessed"}, {"actions": [0] * 8}, {"weight_bits": [8] * 9},
        {"weight_bits": ["8"] * 8}, {"reward": True}, {"voltage_v": "0.8"}, {"reward": float("inf")},
        {"epsilon": [1]}, {"activation_bits": []},
    ],
    ids=str,
)  # fmt: skip
def test_a_line_that_cannot_be_right_ends_the_report(copy, fields):
    change_line(copy, 30, **fields)
    run = load_runs([copy])[0]
    assert len(run.steps) == 30 and any("line 31" in note and next(iter(fields)) in note for note in run.notes)
    assert page([run])


def test_a_line_with_an_action_that_the_row_has_not_is_found_out(copy):
    change_line(copy, 30, actions=[7] * 9)
    run = load_runs([copy])[0]
    assert "action of row 0" in run.q_history.mismatch and page([run])


def test_a_changed_score_of_a_method_without_a_unit_is_found_out(tmp_path):
    run = make_run(tmp_path / "run", method="evolution", schedule="quick")
    done = rlu("report", run)
    assert done.returncode == 0, done.stderr
    change_line(run, 30, reward=0.995)
    done = rlu("report", run)
    assert done.returncode == 1
    assert "the score of iteration 30 is 0.995, but accuracy, latency and energy give 0." in done.stderr


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / CONFIG).unlink(), "holds no run: it has no config.json"),
        (lambda path: (path / CONFIG).write_text("[]"), "config.json is damaged"),
        (lambda path: (path / CONFIG).write_text('{"format": 99}'), "a newer version made it"),
        (lambda path: (path / TRACE).unlink(), "no whole iteration to report on"),
        (lambda path: (path / TRACE).write_text("{}\n"), "no whole iteration to report on"),
        (lambda path: (path / SUMMARY).write_text("{"), "summary.json is damaged"),
        (lambda path: (path / SUMMARY).write_text("[]"), "summary.json is damaged"),
        (lambda path: (path / SUMMARY).write_text('{"found": 3}'), "summary.json is damaged"),
    ],
)
def test_a_run_that_cannot_be_read_is_refused_in_words(copy, damage, message):
    damage(copy)
    with pytest.raises(RunFolderError, match=re.escape(message)):
        load_runs([copy])


def test_bad_use_gets_a_message_and_exit_code_2(short, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ([tmp_path / "nowhere"], "is not there: give the folder of a run"),
        ([tmp_path / "file"], "is a file: give the folder of a run"),
        ([short, f"{short}/../short"], "is the same run as"),
        ([short, "-o", tmp_path], "is a folder: give -o the name of a file"),
        ([short, "-o", tmp_path / "file" / "page.html"], "page.html: "),
        ([], "Missing argument"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["report", *map(str, arguments)])
        told = capsys.readouterr()
        assert end.value.code == 2 and message in told.err and told.out == "", told


def test_several_runs_stand_side_by_side(short, stopped, tmp_path):
    latency = make_run(tmp_path / "other" / "short", objective="latency", schedule="quick", seed=7)
    runs = load_runs([short, latency, stopped])
    labels = [run.label for run in runs]
    assert labels == [f"{short.parent.name}/short", "other/short", f"{stopped.parent.name}/stopped"]
    elements = Elements(page(runs))
    for run in runs:
        assert elements.visible.count(run.label) > 6
    assert "different objectives: their scores cannot be compared" in elements.visible
    assert "different objectives" not in page(load_runs([short, stopped]))


def test_searched_activations_have_their_map(tmp_path):
    path = make_run(tmp_path / "run", activations="searched", schedule="quick")
    found = json.loads((path / SUMMARY).read_text())["found"]
    run = load_runs([path])[0]
    assert run.q_history.last_matches is True and {len(row) for row in run.q_history.tables[0]} == {9}
    rows = [row[1:9] for row in Elements(page([run])).rows if row[:1] == ["found"]]
    assert rows == [list(map(str, found["weight_bits"])), list(map(str, found["activation_bits"]))]


def test_another_chip_is_not_given_the_published_ones_layers(tmp_path):
    limits = {"latency_th_ms": 9.0, "latency_low_ms": 1.0, "energy_th_uj": 90.0, "energy_low_uj": 7.0}
    path = make_run(tmp_path / "run", chip=SMALL_CHIP, schedule="quick", **limits)
    run = load_runs([path])[0]
    assert run.chip.shapes == () and run.chip.place_names == ("1", "2", "3")
    assert {item.size_mb for item in run.deployments} == {None}
    words = Elements(page([run])).visible
    assert "does not say which chip" in words and "its own chip" in words and "full-width VGG8 in" not in words


def test_a_chip_of_measured_layers_is_named_and_unknown_energies_are_not_made_up(tmp_path):
    rows = [f"{name},{bits},8,unavailable,{f},{bits / f}" for name in "ab" for bits in (2, 4, 8) for f in (10, 20)]
    header = "layer,weight_bits,activation_bits,voltage_v,frequency_mhz,latency_ms,energy_uj"
    table = "\n".join(["# chip: bench", "# origin: a stopwatch", header, *(f"{row},unavailable" for row in rows)])
    (tmp_path / "bench.csv").write_text(table + "\n")
    limits = {"objective": "0.3,0.7,0", "latency_th_ms": 2.0, "latency_low_ms": 0.1, "latency_high_ms": 2.0}
    chip = TableChip(read_csv(tmp_path / "bench.csv"))
    path = make_run(tmp_path / "run", chip=chip, schedule="quick", **limits)
    run = load_runs([path])[0]
    assert run.chip.place_names == ("a", "b") and run.q_history.last_matches is True
    elements = Elements(page([run]))
    assert "from the chip bench: a stopwatch. Energy is unavailable" in elements.visible
    found = next(row for row in elements.rows if row[:1] == ["found (greedy)"])
    assert found[3:6] == ["–", "–", "–"] and "energy over" not in str(elements.tags).lower()
    cost = next(row for row in elements.rows if len(row) == 6 and row[0] == "run" and "µJ" not in row[0])
    told = elements.rows[elements.rows.index(cost) + 1]
    assert told[2] == "–" and told[4] == "–" and told[3] != "–"
    assert all(facts_as_json(run)["deployments"][name]["energy_uj"] is None for name in ("INT8", "found", "best seen"))
    assert run.front and all(step.latency_ms < 2.0 for step in run.front)
    (path / "chip.csv").write_text("layer\n")
    assert "does not say which chip (" in load_runs([path])[0].chip.words


def test_the_layers_of_a_network_of_ones_own_are_sized(tmp_path):
    chip = EvolverChip(vgg8_layers(8, 1, 10))
    path = make_run(tmp_path / "run", chip=chip, chip_network="vgg8:8x1x10", schedule="quick", latency_low_ms=0.0)
    run = load_runs([path])[0]
    assert run.deployments[0].size_mb == sum(layer.weights for layer in chip.layers) / 1e6
    assert "those of the vgg8:8x1x10 in the analytical model" in Elements(page([run])).visible


@pytest.mark.parametrize(
    ("objective", "points", "levels"), [("energy", 2, 2), ("latency", 0, 1), ("0.5,0.25,0.25", 0, 0)]
)
def test_only_published_scores_are_drawn_and_no_curve(tmp_path, objective, points, levels):
    path = make_run(tmp_path / "run", objective=objective, schedule="quick")
    # A quick run's picture has no place for iterations 295 and 313: they are levels there.
    run = load_runs([path])[0]
    assert str(learning_curve(run)).count('class="level"') == points + levels
    long_run = dataclasses.replace(run, planned=330)
    drawn = Elements(learning_curve(long_run)).tags
    assert sum(attributes.get("class") == "published" for _, attributes in drawn) == points
    assert sum(attributes.get("class") == "level" for _, attributes in drawn) == levels
    for score in published_scores(run.weights):
        assert f"{score.score:.3f}" in Elements(page([run])).visible


def test_without_outliers_no_training_was_saved(tmp_path):
    path = make_run(tmp_path / "run", schedule="quick", latency_th_ms=20.0, energy_th_uj=300.0)
    words = Elements(page(load_runs([path]))).visible
    assert "No policy missed the latency or energy threshold, so no training was saved. 33 were trained" in words


def test_the_command_repeats_the_run(tmp_path):
    given = [
        "--seed",
        "7",
        "--objective",
        "latency",
        "--latency-th",
        "9.5",
        "--full-last-reward",
        "--method",
        "rlu",
        "--schedule",
        "quick",
    ]
    path = make_run(
        tmp_path / "run", seed=7, objective="latency", latency_th_ms=9.5, full_last_reward=True, schedule="quick",
        accuracy_drop=0.02, energy_th_uj=300.0,
    )  # fmt: skip
    words = repeat_command(load_runs([path])[0]).split()
    assert words[:2] == ["rlu", "tune"] and sorted(words[2:]) == sorted(given)


EIGHTS = {"weight_bits": (8,), "activation_bits": (8,)}


def test_break_even_is_what_its_formulas_say():
    def deployment(name, latency_ms, energy_uj):
        return Deployment(
            name, {"weight_bits": (8,), "activation_bits": (8,)}, 0.8, 232.0, 0.7, latency_ms, energy_uj, 0.5
        )

    facts = evolver_facts()
    measured = {entry["name"]: entry for entry in facts["measurements"]}
    before, after = measured["INT8 (derived)"], measured["energy first"]
    savings = Savings(
        deployment("INT8", before["latency_ms"], before["energy_uj"]),
        deployment("found", after["latency_ms"], after["energy_uj"]),
    )
    cost = facts["long_term"]
    hours = savings.hours_for_time(cost["tuning_hours"])
    assert (hours - cost["tuning_hours"]) / after["latency_ms"] == pytest.approx(hours / before["latency_ms"])
    # The published "1 day" comes out of the published latencies and hours.
    assert hours == pytest.approx(19.6, abs=0.1) and -(-hours // 24) == cost["break_even_days_vs_int8"]
    inferences = savings.inferences_for_energy(cost["tuning_energy_j"])
    assert inferences * (before["energy_uj"] - after["energy_uj"]) == pytest.approx(cost["tuning_energy_j"] * 1e6)
    dearer = Savings(savings.found, savings.baseline)
    assert dearer.inferences_for_energy(1.0) is None and dearer.hours_for_time(1.0) is None


def test_numbers_read_well():
    assert whole(None) == "never" and whole(72007.2) == "72,000" and whole(26.6e6) == "26.6 million"
    assert whole(3.14e9) == "3.14 billion" and whole(12.3) == "12"
    assert against(5.0, 10.0, "INT8") == "50\N{NO-BREAK SPACE}% less than INT8 (10.00)"
    assert against(15.0, 10.0, "INT8") == "50\N{NO-BREAK SPACE}% more than INT8 (10.00)"


def step(iteration, accuracy, latency_ms, energy_uj):
    return Step(
        iteration,
        1.0,
        (0, 0),
        {"weight_bits": (8,), "activation_bits": (8,)},
        0.8,
        232.0,
        accuracy,
        latency_ms,
        energy_uj,
        0.5,
        "trained",
        "",
    )


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=30))
def test_the_front_is_what_nothing_beats(figures):
    steps = [step(number, a / 4, float(latency), float(e)) for number, (a, latency, e) in enumerate(figures)]

    def beats(one, other):
        pairs = [
            (one.accuracy, other.accuracy),
            (-one.latency_ms, -other.latency_ms),
            (-one.energy_uj, -other.energy_uj),
        ]
        return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)

    unbeaten = {(s.accuracy, s.latency_ms, s.energy_uj) for s in steps if not any(beats(o, s) for o in steps)}
    front = pareto_front(steps)
    assert {(s.accuracy, s.latency_ms, s.energy_uj) for s in front} == unbeaten and len(front) == len(unbeaten)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 9))
def test_ticks_are_round_few_and_within(low, width, most):
    values = ticks(low, low + width, most)
    assert len(values) <= most + 1
    assert all(low - width * 1e-6 <= value <= low + width * (1 + 1e-6) for value in values)
    gaps = {round((b - a) / width, 6) for a, b in pairwise(values)}
    assert len(gaps) <= 1


def test_heat_maps_end_where_epsilon_changes_and_are_not_too_many():
    def steps(schedule):
        return [Step(k, e, (0,), {}, 1, 1, None, 1, 1, 0, "skipped", "") for k, e in enumerate(schedule)]

    published = steps([1.0] * 90 + [0.5] * 30)
    assert frame_iterations(published) == [29, 59, 89, 119]
    assert frame_iterations(published[:100]) == [29, 59, 89, 99]
    many = frame_iterations(steps(schedule_of("long")))
    assert many[-1] == 1199 and len(many) <= 16
