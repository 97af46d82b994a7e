"""`rlu search` as a user types it: what it prints, what it keeps, what it refuses."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from algo.search.compare.sweep import SearchCell, run_cell, sweep, table_digest
from algo.search.methods.registry import METHODS, Noise
from algo.search.tables.table_file import write_table
from tests.command_line import rlu
from tests.places import ROOT
from tests.small_tables import small_scored, small_table


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "small.parquet"
    write_table(small_table(), path)
    return path


def test_json_has_the_regret_of_every_method(capsys, table):
    code, out, _ = rlu(
        capsys, "search", "--table", table, "--method", "rlu,random", "--seeds", 30, "--budget", 60, "--json"
    )
    answer = json.loads(out)
    assert (
        code == 0
        and answer["policies"] == 243
        and answer["seeds"] == 30
        and list(answer["methods"]) == ["rlu", "random"]
    )
    scored = small_scored()
    assert answer["optimum"] == scored.optimum == answer["best_policy"]["score"]
    for name, figures in answer["methods"].items():
        assert list(figures["regret"]) == ["25", "50", "60"]
        regret = scored.regret(METHODS[name].run(scored, range(1, 31), 60))
        assert figures["regret"]["50"]["value"] == regret[49].mean()
        assert figures["regret"]["50"]["low"] <= regret[49].mean() <= figures["regret"]["50"]["high"]
        assert figures["trainings"] == 60  # nothing misses latency or energy here
        never = (regret[-1] > 0.01 * scored.optimum).sum()
        assert len(figures["censored_seeds"]) == never


def test_the_table_in_words(capsys, table):
    code, out, _ = rlu(capsys, "search", "--table", table, "--method", "grid", "--seeds", 5, "--objective", "0.5,0.5,0")
    assert code == 0
    assert "243 policies; weights 0.5, 0.5, 0; accuracy_th 0.68 excludes" in out
    assert "| method | 25 | 50 | 100 | 200 | 330 | to within 1 % (median) |" in out
    assert "| grid | " in out.splitlines()[-1] and "| 0.0000 (0.0000..0.0000) |" in out.splitlines()[-1]


def test_seconds_searched_are_kept_and_a_damaged_part_is_redone(capsys, table, tmp_path):
    arguments = ["search", "--table", table, "--method", "nsga2", "--seeds", 3, "--budget", 8, "--folder", tmp_path]
    first = rlu(capsys, *arguments, "--json")
    kept = sorted(tmp_path.iterdir())
    assert first[0] == 0 and kept
    before = kept[0].stat().st_mtime_ns
    assert rlu(capsys, *arguments, "--json")[1] == first[1] and kept[0].stat().st_mtime_ns == before
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    code, out, said = rlu(capsys, *arguments, "--json")
    assert code == 0 and out == first[1] and "is damaged" in said


def test_what_an_earlier_version_of_a_method_found_is_not_taken(table, tmp_path, monkeypatch):
    scored = small_scored()
    for version, kept in ((1, 1), (1, 1), (2, 2)):
        monkeypatch.setitem(METHODS, "random", replace(METHODS["random"], version=version))
        sweep(str(table), scored, ["random"], seeds=2, budget=3, folder=tmp_path / "kept", jobs=1)
        assert len(list((tmp_path / "kept").iterdir())) == kept


def test_cells_of_seeds_join_to_one_sweep(table):
    scored = small_scored()
    found = sweep(str(table), scored, ["nsga2"], seeds=60, budget=4, jobs=1)["nsga2"].chosen
    assert found.shape == (4, 60) and (found == METHODS["nsga2"].run(scored, range(1, 61), 4)).all()


def test_a_table_that_is_another_one_elsewhere_is_refused(table):
    scored = small_scored()
    cell = SearchCell(str(table), table_digest(scored.table), scored.objective, "random", 1, 2, 3, 1)
    assert run_cell(cell)["chosen"].shape == (3, 2)
    with pytest.raises(ValueError, match="is not the one that the search was started with"):
        run_cell(SearchCell(str(table), "0" * 16, scored.objective, "random", 1, 2, 3, 1))


def test_the_digest_is_of_the_figures():
    table = small_table()
    changed = small_table()
    assert table_digest(changed) == table_digest(table)
    changed.accuracy[7] = np.nextafter(changed.accuracy[7], 1)
    assert table_digest(changed) != table_digest(table)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--method", "annealing"], "unknown method 'annealing': choose from rlu, "),
        (["--method", ""], "unknown method ''"),
        (["--table", "nowhere.parquet"], "unknown table 'nowhere.parquet': choose"),
        (["--budget", "0"], "budget must be at least 1, not 0"),
        (["--seeds", "0"], "seeds must be at least 1, not 0"),
        (["--seeds", "70000"], "every seed must be in 1..65535"),
        (["--objective", "speed"], "the objective must be energy, latency or three weights a,b,c, not 'speed'"),
        (["--objective", "1,1,1"], "must sum to 1"),
        (["--accuracy-th", "2"], "accuracy_th must be a fraction"),
        (["--accuracy-th", "0.9"], "accuracy_th = 0.9 excludes 243 of 243 policies; with the others unchanged, 0.69"),
        (["--latency-th", "0.1"], "latency_th_ms = 0.1 excludes 243 of 243 policies"),
        (["--jobs", "0"], "jobs must be at least 1, not 0"),
        (["--noise", "-0.1"], "noise must be a standard deviation of 0 or more, or 'table', not '-0.1'"),
        (["--noise", "loud"], "noise must be a standard deviation of 0 or more, or 'table', not 'loud'"),
        (["--noise", "nan"], "noise must be a standard deviation of 0 or more"),
        (["--noise", "table"], "the table has no accuracy_std: give --noise a standard deviation, such as 0.014"),
        (["--at", "0,3"], "numbers of evaluations must rise from at least 1 to at most 5, not [0, 3]"),
        (["--at", "3,6"], "numbers of evaluations must rise from at least 1 to at most 5, not [3, 6]"),
        (["--at", "3,2"], "numbers of evaluations must rise"),
        (["--at", "often"], "is not a list of whole numbers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_use_ends_with_2_and_says_what_is_allowed(capsys, table, given, said):
    arguments = {"--table": str(table), "--method": "rlu", "--seeds": "2", "--budget": "5"}
    arguments |= dict(zip(given[::2], given[1::2], strict=True))
    code, out, err = rlu(capsys, "search", *(part for pair in arguments.items() for part in pair))
    assert code == 2 and not out and said in err and "Traceback" not in err


def test_with_noise_the_regret_of_what_would_be_deployed_is_given_too(capsys, table):
    arguments = (
        "search", "--table", table, "--method", "bayes-linear,random", "--seeds", 6, "--budget", 12, "--at", "5,12",
        "--noise", 0.02,
    )  # fmt: skip
    code, out, _ = rlu(capsys, *arguments, "--json")
    answer, scored = json.loads(out), small_scored()
    assert code == 0 and answer["noise"] == 0.02 and answer["budget"] == 12
    for name, figures in answer["methods"].items():
        found = METHODS[name].search(scored, range(1, 7), 12, noise=Noise(0.02), at=[5, 12])
        for kind in ("deployed", "luckiest"):
            regret = (scored.optimum - scored.scores[getattr(found, kind)]).mean(axis=1)
            assert [figures[kind][at]["value"] for at in ("5", "12")] == regret.tolist()
        assert figures["regret"]["12"]["value"] == scored.regret(found.chosen)[-1].mean()
    code, out, _ = rlu(capsys, *arguments)
    assert "would be deployed, accuracies seen with a normal error of 0.02:" in out
    assert [line.split(" | ")[0] for line in out.splitlines()[-3:]] == [
        "| bayes-linear", "| bayes-linear, luckiest", "| random",
    ]  # fmt: skip


def test_a_method_that_is_good_for_fewer_evaluations_has_a_dash_beyond_them(capsys, table, monkeypatch):
    monkeypatch.setitem(METHODS, "grid", replace(METHODS["grid"], most=6))
    code, out, _ = rlu(
        capsys, "search", "--table", table, "--method", "grid,random", "--seeds", 2, "--budget", 9, "--at", "6,9"
    )
    few, all_of_them = (line.split(" | ") for line in out.splitlines()[-2:])
    assert code == 0 and few[2] == "-" and all_of_them[2] != "-" and few[1] != "-"


def test_the_documented_refusal_is_what_is_printed(capsys):
    page = (ROOT / "docs" / "use" / "search.md").read_text()
    command, message = re.search(r"\$ rlu (search .*)\n((?:.+\n)+)```", page).groups()
    code, _, err = rlu(capsys, *command.split())
    assert code == 2 and err == message


def test_a_missing_library_is_named(capsys, table, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    code, _, err = rlu(capsys, "search", "--table", table, "--method", "tpe", "--seeds", 1, "--budget", 2)
    assert code == 2 and "optuna is not installed: pip install" in err
