"""`rlu experiment`: each one at the scale that takes seconds; resumed, repeated, and against what was published."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from algo.chips.evolver import EvolverChip
from algo.cli import main
from algo.experiments import EXPERIMENTS, base, long_term, runs
from algo.experiments.base import DATA, PLOT, TABLE, Settings
from algo.experiments.excluding import excluding_thresholds
from algo.experiments.model_size import ModelSizeChip
from algo.experiments.outliers import excluding
from algo.experiments.plots import figure, score_axis
from algo.experiments.results_page import part, place, with_part
from algo.experiments.statistics import mean_of_few
from algo.experiments.tables import scored
from algo.published.evolver import evolver_facts
from algo.runs.run_folder import RunFolder
from algo.search.schedules import published_schedule, schedule_of
from algo.space.layers import LayerShape
from algo.space.policy import Policy
from sim.files import LOCK, FolderLock
from tests.algo.experiments.contract import check_contract, experiment
from tests.places import ROOT

FAQS = tuple(name for name in EXPERIMENTS if name.startswith("faqs"))  # these are in test_faqs.py
SLOW = ("activations", "baselines", "better-unit", "resnet34")  # Optuna's seeds, and 37 layers


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """One folder for all, so that experiments share their runs as `all` does."""
    return tmp_path_factory.mktemp("experiments")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in EXPERIMENTS if n not in FAQS]
)
def test_sets_published_beside_ours(name, out, capsys):
    check_contract(capsys, name, "--out", out)


def test_without_a_name_or_with_an_unknown_one_says_which_there_are(capsys, tmp_path):
    for arguments in (["experiment", "no-such"], ["experiment", "no-such", "--json"]):
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--out", str(tmp_path)])
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert "unknown experiment 'no-such'" in said and all(name in said for name in EXPERIMENTS)
    with pytest.raises(SystemExit) as end:
        main(["experiment"])
    assert end.value.code == 2 and "rlu experiment --list" in capsys.readouterr().err
    main(["experiment", "--list"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(EXPERIMENTS)


def test_full_and_quick_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as end:
        main(["experiment", "outliers", "--full", "--quick"])
    assert end.value.code == 2 and "exclude each other" in capsys.readouterr().err


def test_runs_take_other_data_and_another_width(tmp_path):
    images = tmp_path / "mine.npz"
    one = runs.run_of(
        Settings(out=tmp_path, data=str(images), width=16, noise_std=0.3, precision="bfloat16"), "latency", 2
    )
    task = one.config.task
    assert (task.data, task.width, task.noise_std) == (str(images), 16, 0.3)
    assert task.training.precision == "bfloat16"
    usual = runs.run_of(Settings(out=tmp_path), "latency", 2).config
    assert (usual.task.data, usual.task.noise_std) == ("digits", None)
    assert one.config.objective == usual.objective and one.config.seed == usual.seed == 2


def test_resnet34_refuses_other_data(capsys):
    with pytest.raises(SystemExit) as end:
        main(["experiment", "resnet34", "--quick", "--data", "mine.npz", "--width", "2"])
    said = capsys.readouterr().err
    assert end.value.code == 2 and "--data, --width: the runs of ResNet34 have" in said


def test_killed_and_called_again_ends_in_the_same_bytes(out, tmp_path, capsys):
    main(experiment("latency-first", "--out", out))
    capsys.readouterr()
    command = [sys.executable, "-m", "algo.cli", *experiment("latency-first", "--out", tmp_path)]
    killed = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    trace = runs.folder_of(Settings(out=tmp_path), "latency", 1) / "trace.jsonl"
    end = time.monotonic() + 120
    while not (trace.exists() and trace.read_bytes().count(b"\n") >= 3):
        assert killed.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "latency-first").exists()
    done = len(trace.read_bytes().splitlines())
    assert 3 <= done < 33
    main(experiment("latency-first", "--out", tmp_path))
    assert " after iteration " in capsys.readouterr().err
    for name in (DATA, PLOT, TABLE):
        assert (tmp_path / "latency-first" / name).read_bytes() == (out / "latency-first" / name).read_bytes()


def test_another_configuration_or_damaged_data_are_made_again(tmp_path, monkeypatch):
    calls = []

    class Counting:
        def configuration(self, settings):
            return {"answer": answer}

        def compute(self, settings):
            calls.append(answer)
            return {"answer": answer}

        def present(self, data):
            return base.Page([base.Row("answer", "?", str(data["answer"]))], b"PNG", "none")

    monkeypatch.setattr(base, "load", lambda name: Counting())
    for answer, damage, expected in ((1, None, 1), (1, None, 1), (2, None, 2), (2, "{", 3), (2, None, 3)):
        if damage:
            (tmp_path / "outliers" / DATA).write_text(damage)
        done = base.perform("outliers", Settings(out=tmp_path))
        assert len(calls) == expected and done.content["results"] == {"answer": answer}


def test_runs_of_several_experiments_are_made_together_but_not_those_of_a_finished_one(out, tmp_path, monkeypatch):
    main(experiment("latency-first", "--out", out))
    asked = []
    monkeypatch.setattr(runs, "tuned", lambda settings, *tasks: asked.append(tasks))
    names, settings = ("search-curves", "latency-first", "outliers"), Settings(scale="quick", out=tmp_path, jobs=1)
    runs.run_for(names, settings)
    shutil.copytree(out / "latency-first", tmp_path / "latency-first")
    runs.run_for(names, settings)
    runs.run_for(names[:2], settings)
    assert asked == [("latency", "energy", "excluding"), ("energy", "excluding")]


def test_a_run_of_another_configuration_is_put_aside(out, tmp_path, capsys):
    main(experiment("latency-first", "--out", out))
    settings = Settings(scale="quick", out=tmp_path, jobs=1)
    folder = runs.folder_of(settings, "energy", 1)
    shutil.copytree(runs.folder_of(Settings(out=out), "energy", 1), folder)
    stored = json.loads((folder / "config.json").read_text())
    # One made before a setting existed had that setting's default.
    del stored["unit"]["lfsr_width"]
    (folder / "config.json").write_text(json.dumps(stored))
    runs.tuned(settings, "energy")
    assert "put aside" not in capsys.readouterr().err and "lfsr_width" not in RunFolder.open(folder).config["unit"]
    (folder / "config.json").write_text(json.dumps(stored | {"unit": {"alpha": 0.5}}))
    trace = (folder / "trace.jsonl").read_bytes()
    (finished,) = runs.tuned(settings, "energy")["energy"]
    aside = folder.with_name(f"{folder.name}.aside-1")
    assert f"{folder} has another configuration: it is put aside as {aside}" in capsys.readouterr().err
    assert RunFolder.open(folder).config["unit"]["alpha"] == 0.25 and len(finished.steps) == 33
    assert (aside / "trace.jsonl").read_bytes() == trace and RunFolder.open(aside).config["unit"] == {"alpha": 0.5}


def test_one_command_at_a_time_works_in_a_folder(out, tmp_path, capsys):
    settings = Settings(scale="quick", out=tmp_path, jobs=1)
    with FolderLock(tmp_path):
        with pytest.raises(SystemExit) as end:
            main(experiment("latency-first", "--out", tmp_path))
        assert end.value.code == 2
        assert f"{tmp_path} is in use by process {os.getpid()} on" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    main(experiment("latency-first", "--out", out))
    folder = runs.folder_of(settings, "energy", 1)
    shutil.copytree(runs.folder_of(Settings(out=out), "energy", 1), folder)
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stored | {"unit": {"alpha": 0.5}}))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    # A run of another configuration, which would begin again, is under way.
    with RunFolder.open(folder) as run, pytest.raises(ValueError, match="in use by process"):
        runs.tuned(settings, "energy")
    assert run.steps and {path.name: path.read_bytes() for path in folder.iterdir()} == before
    runs.tuned(settings, "energy")
    assert RunFolder.open(folder).config == stored and not (folder / LOCK).exists()


@pytest.mark.slow
def test_the_rtl_searches_as_the_batch_of_seeds_does(out, tmp_path, capsys):
    main([*experiment("search-curves", "--out", out), "--json"])
    golden = json.loads(capsys.readouterr().out)["results"]["tables"][0]
    main([*experiment("search-curves", "--out", tmp_path), "--device", "sim", "--json"])
    simulated = json.loads(capsys.readouterr().out)["results"]["tables"][0]
    assert golden.pop("rtl_words_compared") == 0 and simulated.pop("rtl_words_compared") > 330 * 10
    assert simulated == golden


def test_published_figures_are_the_ones_printed():
    facts = evolver_facts()
    search, resnet34, term = facts["search"], facts["resnet34"], facts["long_term"]
    assert (search["iterations"], search["grid_search_iterations_to_similar_score"]) == (330, 887)
    assert round(887 / 330, 2) == search["iteration_ratio"] == 2.69
    assert (search["grid_search_score"], search["outliers_skipped"], search["space"]) == (0.839, 122, 3**8 * 9)
    assert (resnet34["iterations"], resnet34["found_at_iteration"]) == (1200, 1167)
    assert (resnet34["best_score"], resnet34["grid_score"]) == (0.841, 0.846)
    assert (resnet34["hours"], resnet34["energy_j"], resnet34["beats_best_proxy_at_iteration"]) == (47.35, 1950.28, 277)
    assert (term["tuning_hours"], term["tuning_energy_j"], term["days"]) == (9.33, 369.44, 20)
    sizes = [entry.get("size_as_printed_mb") for entry in facts["measurements"]]
    assert sizes == [67.28, 132.25, 67.83, 130.77, None]


def test_the_long_term_formula_reproduces_the_published_figures():
    facts = evolver_facts()["long_term"]
    int8, smallest = long_term.published_from_its_inputs()
    assert smallest.energy_saved_j == pytest.approx(facts["energy_saved_vs_model_size_policy_j"], abs=0.01)
    assert smallest.extra_inferences == pytest.approx(facts["extra_inferences_vs_model_size_policy"], rel=0.002)
    assert int8.energy_ratio == pytest.approx(facts["energy_saving_ratio_vs_int8"], abs=0.005)
    # These two hold by construction, to the digits that INT8's derived latency and energy have.
    assert int8.energy_saved_j == pytest.approx(facts["energy_saved_vs_int8_j"], abs=1.5)
    assert int8.extra_inferences == pytest.approx(facts["extra_inferences_vs_int8"], rel=0.005)
    assert int8.break_even_inferences_days < facts["break_even_days_vs_int8"] < int8.break_even_energy_days


def test_tuning_that_saves_nothing_never_breaks_even():
    same = long_term.Cost(10.0, 50.0)
    result = long_term.compare(same, same, days=20, tuning_energy_j=100.0, tuning_hours=1.0)
    assert result.extra_inferences == 0 and result.energy_saved_j == -100.0 and result.energy_ratio < 1
    assert result.break_even_energy_days == result.break_even_inferences_days == float("inf")


def test_excluding_thresholds_exclude_the_published_share():
    known = excluding(scored("synthetic", "energy"))
    assert known.skipped.mean() == pytest.approx(122 / 330, abs=0.002)
    thresholds = excluding_thresholds()
    assert thresholds["latency_th_ms"] == known.objective.latency_th_ms
    assert thresholds["energy_high_uj"] == known.objective.energy_high_uj == 300


def test_model_size_takes_the_place_of_energy():
    chip = ModelSizeChip(
        EvolverChip([LayerShape("a", 10**6, 300, 10, 10), LayerShape("b", 10**6, 100, 10, 10)]), (300, 100)
    )
    assert [point.voltage_v for point in chip.points] == [0.80]
    sizes = [chip.measure(Policy(widths, (8, 8), 0)).energy_uj for widths in ((8, 8), (2, 2), (2, 8))]
    assert sizes == [100.0, 25.0, 100 * (600 + 800) / 3200]


def test_the_long_schedule_keeps_the_published_proportions():
    long, published = schedule_of("long"), published_schedule()
    assert len(long) == 1200 and sorted(set(long)) == sorted(set(published))
    for epsilon in set(published):
        assert long.count(epsilon) / 1200 == pytest.approx(published.count(epsilon) / 330, abs=1 / 1200)


def test_one_seed_has_no_interval():
    assert mean_of_few([0.5])["low"] is None
    interval = mean_of_few([1.0, 2.0, 3.0])
    assert interval["value"] == 2.0 and interval["high"] - 2.0 == pytest.approx(4.3027 / 3**0.5, rel=1e-4)


def test_the_results_page_has_a_place_for_each_and_shows_the_data_beside_it():
    results, shown = ROOT / "docs" / "results", set()
    for path in results.glob("*.md"):
        page, text = path.stem, path.read_text()
        for name in re.findall(r"<!-- experiment (\S+) begins -->", text):
            content = json.loads((results / f"{name}.json").read_text())
            assert place(content, text, page) == name and with_part(text, name, part(content, name)) == text
            shown.add(name)
    assert {*EXPERIMENTS, "baselines-full"} <= shown
    assert {path.stem for path in results.glob("*.json")} == shown


def test_at_full_scale_an_experiment_has_a_place_of_its_own_where_the_page_has_one():
    name = "baselines"
    names = (name, f"{name}-full")
    marks = "".join(f"<!-- experiment {one} begins -->\n<!-- experiment {one} ends -->\n" for one in names)
    full, cpu = ({"experiment": name, "configuration": {"scale": scale}} for scale in ("full", "cpu"))
    assert place(full, marks) == f"{name}-full" and place(cpu, marks) == name
    assert place(full, marks.replace("-full", "-other")) == name


def test_score_axes_leave_out_where_a_search_starts_but_no_line():
    with figure() as drawn:
        axes = drawn.axes[0]
        score_axis(axes, [[0.0] * 2 + [0.9] * 38 + [1.0], [0.1] * 2 + [0.95] * 39])
        assert axes.get_ylim() == pytest.approx((0.895, 1.005))
        score_axis(axes, [[0.0] * 2 + [0.9] * 39], 0.7)
        assert axes.get_ylim() == pytest.approx((0.69, 0.91))
        score_axis(axes, [[0.5] * 3])
        assert axes.get_ylim() == pytest.approx((0.49, 0.51))


def test_docs_takes_tables_plots_and_data(out, tmp_path, capsys):
    docs = tmp_path / "docs"
    (docs / "results").mkdir(parents=True)
    for page, name in (("results", "search-curves"), ("mine", "mine-search-curves")):
        (docs / "results" / f"{page}.md").write_text(
            f"before\n<!-- experiment {name} begins -->\nOUTDATED\n<!-- experiment {name} ends -->\nafter\n"
        )
    main([*experiment("search-curves", "--out", out), "--docs", str(docs), "--page", "mine"])
    assert "OUTDATED" in (docs / "results" / "results.md").read_text()
    assert "![" in (docs / "results" / "mine.md").read_text() and (docs / "results" / "mine-search-curves.png").exists()
    main([*experiment("search-curves", "--out", out), "--docs", str(docs)])
    page = (docs / "results" / "results.md").read_text()
    assert page.startswith("before\n") and page.endswith("after\n") and "OUTDATED" not in page and "| 887 |" in page
    assert (docs / "results" / "search-curves.png").exists()
    assert part(json.loads((docs / "results" / "search-curves.json").read_text()), "search-curves") in page
    with pytest.raises(SystemExit) as end:
        main([*experiment("outliers", "--out", out), "--docs", str(docs)])
    assert end.value.code == 2 and re.search(r"has no place for experiment outliers", capsys.readouterr().err)
