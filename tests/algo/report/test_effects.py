"""What a planning unit learned, as the report shows it: the unit's own effects, and nothing that was changed later."""

import json
import re
import shutil
import zipfile
from itertools import chain, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algo.cli import main
from algo.report.effect_figures import frame_numbers, losses
from algo.report.load import load_runs
from algo.report.page import facts_as_json, page
from algo.runs.effect_replay import EffectHistory, effect_history
from algo.runs.run_folder import CHECKPOINT, SUMMARY, TRACE, RunFolder
from algo.runs.tune import config_of
from sim.devices.driver import q_digest
from tests.report_runs import make_run

LSB = 2.0**-15


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A finished run of 20 iterations by a planning unit."""
    limits = {"latency_th_ms": 20.0, "energy_th_uj": 300.0}  # which the first policy keeps, so all are measured
    return make_run(tmp_path_factory.mktemp("runs") / "planned", method="planning", iterations=20, **limits)


@pytest.fixture
def copy(planned, tmp_path):
    """The same, to be damaged."""
    return Path(shutil.copytree(planned, tmp_path / "copy"))


def unit_of(path):
    with zipfile.ZipFile(path / CHECKPOINT) as archive:
        return json.loads(archive.read("unit.json"))["unit"]


def change_unit(path, change):
    """Change what a checkpoint says about the unit."""
    with zipfile.ZipFile(path / CHECKPOINT) as archive:
        header, evaluator = json.loads(archive.read("unit.json")), archive.read("evaluator.bin")
    change(header["unit"])
    with zipfile.ZipFile(path / CHECKPOINT, "w") as archive:
        archive.writestr("unit.json", json.dumps(header))
        archive.writestr("evaluator.bin", evaluator)


def change_line(path, number, **fields):
    lines = (path / TRACE).read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | fields)
    (path / TRACE).write_text("\n".join(lines) + "\n")


def history_of(path):
    folder = RunFolder.open(path)
    return folder, effect_history(path, folder.steps, config_of(folder), folder.summary)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 2**16 - 1),
    st.integers(1, 12),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.01, 0.1]),
    st.sampled_from([5.0, 8.0, 20.0]),
    st.booleans(),
)
def test_the_replayed_effects_and_trials_are_the_units_own(tmp_path_factory, seed, count, passes, noise, limit, end):
    """However the unit is set, also where the first policies miss the threshold of latency."""
    path = make_run(
        tmp_path_factory.mktemp("run") / "run", method="planning", iterations=count + (not end), seed=seed,
        passes=passes, noise=noise, latency_th_ms=limit, stop=None if end else count,
    )  # fmt: skip
    folder, history = history_of(path)
    unit = unit_of(path)
    assert history.mismatch == "" and history.last_matches is True
    assert [q_digest(table) for table in history.tables] == [step.q_digest for step in folder.steps]
    assert [list(row) for row in history.tables[-1]] == unit["q_table"]
    assert [count for row in history.trials[-1] for count in row] == unit["plan"]["trials"]
    if not end:
        assert history.deployed is None
        return
    said = folder.summary["found_predicted"]
    assert (history.deployed.accuracy, list(history.deployed.trials)) == (said["accuracy"], said["trials"])


def test_a_prediction_is_the_sum_of_the_effects_before_the_measurement(planned):
    folder, history = history_of(planned)
    assert history.predicted[0] is None and len(history.predicted) == 20
    for step, before, predicted in zip(folder.steps[1:], history.tables, history.predicted[1:], strict=False):
        effects = before[-1][0] + sum(row[action] for row, action in zip(before, step.actions[:-1], strict=False))
        assert predicted == pytest.approx(min(1.0, effects * history.unit), abs=2 * LSB)


def test_the_heat_maps_show_effects_against_the_rows_best_and_how_often_each_was_tried(planned):
    unit, run = unit_of(planned), load_runs([planned])[0]
    html = page([run])
    *_, heat = re.findall(r'<figure><figcaption>(.*?)</figcaption>(<svg class="heat".*?</svg>)', html)
    told = [re.split(", (?=[0-9a])|: ", tip) for tip in re.findall(r"<rect[^>]*><title>(.*?)</title>", heat[1])]
    trials, expected = iter(unit["plan"]["trials"]), []
    for name, effects in zip(run.chip.place_names, unit["q_table"], strict=False):
        counts = [next(trials) for _ in effects]
        best = max(effect for effect, count in zip(effects, counts, strict=True) if count)
        for bits, effect, count in zip((2, 4, 8), effects, counts, strict=True):
            loss = f"−{(best - effect) * LSB:.3f}" if effect != best else "0"
            expected.append((name, f"{bits} bit" if count else None, f"{loss}, tried {count}×" if count else "untried"))
    assert [(name, None if said == "untried" else choice, said) for name, choice, said in told] == expected
    found = json.loads((planned / SUMMARY).read_text())["found"]
    words = f"{' '.join(map(str, found['weight_bits']))} bit at {found['voltage_v']:.2f} V"
    assert heat[0].startswith(f"after iteration 19; framed: the policy deployed, {words}")
    framed = re.findall(r'<rect[^>]*class="loss[^"]* greedy"[^>]*><title>\w+, (\d)', heat[1])
    assert framed == [str(bits) for bits in found["weight_bits"]]


def test_a_choice_is_untried_until_a_policy_has_had_it(planned):
    run, counts = load_runs([planned])[0], unit_of(planned)["action_counts"]
    frames = re.findall(r'<figcaption>after iteration (\d+).*?(<svg class="heat".*?</svg>)', page([run]))
    for number, heat in frames:
        had = {pair for step in run.steps[: int(number) + 1] for pair in enumerate(step.actions[:-1])}
        untried = sum(counts[:-1]) - len(had)
        assert heat.count(": untried<") == heat.count('class="loss untried') == untried
    assert [int(number) for number, _ in frames] == list(range(1, 20, 2)) and ": untried<" in frames[0][1]


def test_predictions_stand_beside_what_was_measured_and_the_threshold(planned):
    run = load_runs([planned])[0]
    picture = re.search(r"<h3>Predicted and measured accuracy</h3>(<svg.*?</svg>)", page([run]))[1]
    told = re.findall(r'class="measured"><title>iteration (\d+): predicted ([\d.]+), measured ([\d.]+)<', picture)
    expected = zip(run.steps[1:], run.effects.predicted[1:], strict=True)
    assert told == [(str(step.iteration), f"{guess:.3f}", f"{step.accuracy:.3f}") for step, guess in expected]
    assert picture.count('class="predicted"') == 19 and picture.count('class="limit"') == 1
    assert picture.index('class="limit"') < picture.index('class="measured"')


def test_each_kind_of_unit_has_its_own_section(planned, tmp_path):
    other = make_run(tmp_path / "published", schedule="quick")
    alone, both = page(load_runs([planned])), page(load_runs([other, planned]))
    assert 'id="q-table"' not in alone and 'href="#q-table"' not in alone and 'href="#effects"' in alone
    assert "cannot be shown" not in alone + both
    assert "33 of 33 Q-tables" in both and "after 20 of 20 iterations" in both
    assert both.index("Iteration of the Q-table of published") < both.index("Iteration of the effects of planned")
    without = page(load_runs([other]))
    assert 'id="effects"' not in without and "#effects" not in without


def test_the_command_prints_effects_and_predictions(planned, tmp_path, capsys):
    main(["report", str(planned), "-o", str(tmp_path / "page.html"), "--json"])
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    told, unit = run["effects"], unit_of(planned)
    assert (told["replayed"], told["last_matches"], told["mismatch"]) == (20, True, None)
    assert told["last"]["rows"][-1] == "V" and [*chain(*told["last"]["trials"])] == unit["plan"]["trials"]
    chosen = zip(told["last"]["effects"], told["deployed"], strict=False)
    deployed = told["last"]["constant"] + sum(effects[action] or 0.0 for effects, action in chosen)
    said = json.loads((planned / SUMMARY).read_text())["found_predicted"]["accuracy"]
    assert deployed == pytest.approx(said, abs=2 * LSB)
    assert [pair["iteration"] for pair in told["predictions"]] == list(range(1, 20))
    assert set(told["predictions"][0]) == {"iteration", "predicted", "measured"}
    assert run["q_table"]["replayed"] == 0 and run["q_table"]["mismatch"] is None


def test_a_run_without_a_planning_unit_has_no_effects(tmp_path):
    run = load_runs([make_run(tmp_path / "run", schedule="quick")])[0]
    assert run.effects is None and facts_as_json(run)["effects"] is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"accuracy": 0.7}, "effects that do not match"),
        ({"latency_ms": 25.0}, "effects that do not match"),
        ({"latency_ms": 9.0}, "a score of"),
        ({"actions": [0] * 9}, "effects that do not match"),
        ({"reward": 0.25}, "instead of 0.25"),
    ],
    ids=str,
)
def test_a_trace_that_was_changed_is_found_out(copy, tmp_path, capsys, fields, said):
    change_line(copy, 7, **fields)
    with pytest.raises(SystemExit) as end:
        main(["report", str(copy), "-o", str(tmp_path / "page.html"), "--json"])
    output = capsys.readouterr()
    assert end.value.code == 1 and "from iteration 7 on" in output.err and said in output.err
    (run,) = json.loads(output.out)["runs"]
    assert run["effects"]["replayed"] == 7 and run["effects"]["deployed"] is None
    html = (tmp_path / "page.html").read_text()
    assert "after 7 of 20 iterations" in html and "from iteration 7 on" in html and "after iteration 6<" in html


def test_the_least_change_of_an_accuracy_is_found_out(copy):
    """One that the unit sees: its accuracies have 15 bits behind the point."""
    change_line(copy, 7, accuracy=RunFolder.open(copy).steps[7].accuracy + 1.5 * LSB)
    assert "from iteration 7 on" in load_runs([copy])[0].effects.mismatch


def change_trials(unit):
    unit["plan"]["trials"][0] += 1


def change_effects(unit):
    unit["q_table"][0][0] += 1


@pytest.mark.parametrize("change", [change_trials, change_effects])
def test_a_checkpoint_that_does_not_follow_from_the_trace_is_found_out(copy, change):
    change_unit(copy, change)
    run = load_runs([copy])[0]
    assert run.effects.last_matches is False and "not those that the trace ends with" in run.notes[-1]
    assert "do not equal those in checkpoint.zip" in page([run])


def test_a_policy_deployed_that_the_unit_does_not_recommend_is_found_out(copy):
    summary = json.loads((copy / SUMMARY).read_text())
    summary["found_predicted"]["accuracy"] -= 0.01
    (copy / SUMMARY).write_text(json.dumps(summary))
    run = load_runs([copy])[0]
    assert "not the one that summary.json says was deployed" in run.mismatch and run.effects.deployed is None
    assert "framed" not in page([run])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / CHECKPOINT).unlink(),
        lambda path: (path / CHECKPOINT).write_bytes(b"no archive"),
        lambda path: change_unit(path, lambda unit: unit.pop("plan")),
        lambda path: change_unit(path, lambda unit: unit["plan"].update(costs=3)),
        lambda path: change_unit(path, lambda unit: unit["plan"].update(costs=[])),
        lambda path: change_unit(path, lambda unit: unit["registers"].update(ALPHA=1 << 31)),
        lambda path: change_unit(path, lambda unit: unit.update(params="{}")),
    ],
    ids=["missing", "no archive", "no plan", "wrong costs", "no costs", "wrong register", "no params"],
)
def test_without_a_sound_checkpoint_the_page_says_so(copy, damage, capsys):
    damage(copy)
    with pytest.raises(SystemExit) as end:
        main(["report", str(copy)])
    assert end.value.code == 1 and CHECKPOINT in capsys.readouterr().err
    html = (copy / "report.html").read_text()
    assert "cannot be shown" in html and CHECKPOINT in html


def test_an_effect_of_a_choice_that_was_not_tried_is_not_printed(tmp_path):
    run = load_runs([make_run(tmp_path / "run", method="planning", iterations=20, stop=2)])[0]
    last = facts_as_json(run)["effects"]["last"]
    for effects, trials in zip(last["effects"], last["trials"], strict=False):
        assert [effect is None for effect in effects] == [count == 0 for count in trials]
        assert None in effects


@given(st.lists(st.lists(st.tuples(st.integers(-100, 100), st.integers(0, 3)), min_size=1), min_size=1))
def test_losses_are_counted_from_the_best_choice_that_was_tried(rows):
    effects, trials = (tuple(tuple(one[k] for one in row) for row in [*rows, [(0, 0)]]) for k in (0, 1))
    found = losses(EffectHistory(0.5, (effects,), (trials,)), 0)
    assert len(found) == len(rows)
    for row, relative in zip(rows, found, strict=True):
        tried = [effect for effect, count in row if count]
        assert relative == [(effect - max(tried)) / 2 if count else None for effect, count in row]


def test_of_an_unfinished_run_nothing_is_framed(tmp_path):
    run = load_runs([make_run(tmp_path / "run", method="planning", iterations=20, stop=6)])[0]
    html = page([run])
    assert not run.mismatch and "after 6 of 6 iterations" in html and "framed" not in html
    assert "after iteration 5<" in html and "loss greedy" not in html


@given(st.integers(1, 2000))
def test_heat_maps_are_few_at_equal_distances_and_end_with_the_last(iterations):
    numbers = frame_numbers(iterations)
    assert numbers[-1] == iterations - 1 and len(numbers) <= 16
    assert len({after - before for before, after in pairwise(numbers)}) <= 1
    assert iterations > 16 or numbers == list(range(iterations))
