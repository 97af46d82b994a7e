"""Whatever is wrong with a user's file: it is taken, or refused in a sentence that names it. Never a traceback."""

import copy
import gzip
import io
import json
import shutil
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algo.chips.by_name import open_chip
from algo.chips.evolver import EvolverChip
from algo.experiments import base
from algo.experiments import runs as experiment_runs
from algo.nets.data.datasets import load_dataset
from algo.report.load import load_runs
from algo.runs.config import TuneConfig
from algo.runs.run_folder import CHECKPOINT, CHIP_TABLE, Q_TABLE, SUMMARY, TRACE, RunFolder
from algo.runs.tune import resumed_config, run
from algo.support.held_folder import CONFIG, RunFolderError
from algo.support.user_files import check_type, parse_json, read_values, reading
from tests.algo.chips.test_chip_descriptions import DESCRIPTION, TOML
from tests.algo.nets.data.test_data import ARCHIVES, cifar_archive, fashion_files, sums
from tests.chip_samples import GOOD_CSV, TINY
from tests.report_runs import MadeUp, make_run

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]

#: Values of every type of JSON, and those at its ends.
VALUES = [
    None, True, False, 0, -1, 3, 10**30, 10**400, -(10**400), 1.5, -0.5, 1e308, 1e-320, float("nan"), float("inf"),
    "", "x", "8", "\u00e9", [], [1], ["a"], [[]], [None], {}, {"a": 1}, [1e400], ["a", 1],
    [[1, 2]], "golden", "null", "nan",
]  # fmt: skip


def places(value, at=()):
    """Paths of all parts of a JSON value."""
    yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*at, key))


def put(value, at, new):
    """The value with one part replaced."""
    if not at:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[at[0]] = put(value[at[0]], at[1:], new)
    return changed


def without(value, at):
    """The value with one part left out."""
    changed = dict(value) if isinstance(value, dict) else list(value)
    if len(at) == 1:
        del changed[at[0]]
    else:
        changed[at[0]] = without(value[at[0]], at[1:])
    return changed


@st.composite
def other_json(draw, text):
    """A text of JSON with one of its values replaced, renamed or left out."""
    value = json.loads(text)
    at = draw(st.sampled_from(list(places(value))))
    if at and draw(st.integers(0, 4)) == 0:
        return json.dumps(without(value, at)).encode()
    return json.dumps(put(value, at, draw(st.sampled_from(VALUES)))).encode()


@st.composite
def other_bytes(draw, content):
    """Bytes with some changed, cut off, repeated or put in."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(changed) - 1)))
        kind = draw(st.sampled_from(["flip", "flip", "cut", "insert", "repeat", "zero"]))
        if kind == "flip" and changed:
            changed[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del changed[at:]
        elif kind == "insert":
            changed[at:at] = draw(
                st.sampled_from([b"\x00", b"\xff", b"\n", b'"', b"[" * 5000, b"9" * 5000, b"\xef\xbb\xbf", b":"])
            )
        elif kind == "repeat":
            changed[at:at] = changed[at : at + draw(st.integers(1, 40))]
        else:
            changed[at : at + 4] = bytes(len(changed[at : at + 4]))
    return bytes(changed)


def taken_or_refused(read, *named):
    """Read; whatever is refused must be refused in a sentence with one of the names."""
    try:
        read()
    except ValueError as error:
        assert any(str(name) in str(error) for name in named), error
        assert "\n" not in str(error)


# --- one file ------------------------------------------------------------------------------------------------


def an_npz():
    buffer = io.BytesIO()
    images = np.random.default_rng(1).integers(0, 255, (40, 3, 3))
    np.savez(buffer, images=images.astype(np.float32), labels=np.arange(40) % 2)
    return buffer.getvalue()


def a_parquet():
    pytest.importorskip("pyarrow")
    from algo.search.tables.table_file import write_table
    from tests.small_tables import tiny_table

    with mock.patch("algo.search.tables.table_file.write_atomically") as written:
        write_table(tiny_table(), Path("tiny.parquet"))
    return written.call_args[0][1]


def described(text):
    def read(path):
        open_chip(str(path), [TINY])

    return text.encode(), read


def table(path):
    from algo.search.tables.table_file import read_table

    read_table(path)


def zigzag():
    from importlib import resources

    return (resources.files("algo.chips") / "zigzag-16x16.yaml").read_text()


#: By the name of a file: what makes it, what reads it, and whether it is JSON.
FILES = {
    "own.npz": (an_npz, lambda path: load_dataset(str(path))),
    "table.parquet": (a_parquet, table),
    "chip.csv": (lambda: GOOD_CSV.encode(), lambda path: open_chip(str(path), None)),
    "chip.json": (lambda: json.dumps(DESCRIPTION).encode(), lambda path: open_chip(str(path), [TINY])),
    "chip.yaml": (lambda: json.dumps(DESCRIPTION).encode(), lambda path: open_chip(str(path), [TINY])),
    "chip.toml": (lambda: TOML.encode(), lambda path: open_chip(str(path), [TINY])),
    "zigzag.yaml": (lambda: zigzag().encode(), lambda path: open_chip(str(path), [TINY])),
    "t10k-images-idx3-ubyte.gz": (
        lambda: fashion_files()["t10k-images-idx3-ubyte.gz"],
        lambda path: load_dataset("fashion-mnist", folder=path.parent),
    ),
    ARCHIVES["cifar100"]: (
        lambda: cifar_archive("cifar100"),
        lambda path: load_dataset("cifar100", path.parent, None, None, sums({path.name: path.read_bytes()})),
    ),
}


def changed_file(data, name, content):
    """A file's content, damaged as JSON, inside its compression, or byte by byte."""
    if name in ("chip.json", "chip.yaml") and data.draw(st.booleans()):
        return data.draw(other_json(content))
    if name.endswith(".gz") and data.draw(st.booleans()):
        return gzip.compress(data.draw(other_bytes(gzip.decompress(content))), 1)
    if name == "own.npz" and data.draw(st.booleans()):
        return rezipped(content, data.draw(st.sampled_from(["images.npy", "labels.npy"])), data)
    return data.draw(other_bytes(content))


def rezipped(content, member, data, strategy=other_bytes):
    """A zip file with a damaged member and checksums that are right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, data.draw(strategy(old.read(name))) if name == member else old.read(name))
    return buffer.getvalue()


def check_one_file(name, data, folder):
    make, read = FILES[name]
    if name.startswith("t10k"):
        for other, content in fashion_files().items():
            (folder / other).write_bytes(content)
    path = folder / name
    path.write_bytes(changed_file(data, name, make()))
    # Two files of Fashion-MNIST must fit, and the one compared may be called wrong.
    taken_or_refused(lambda: read(path), path, *(folder.glob("t10k*") if name.startswith("t10k") else ()))


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=40, suppress_health_check=QUIET)
@given(data=st.data())
def test_a_damaged_file_is_taken_or_refused_by_name(name, data, tmp_path):
    check_one_file(name, data, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@settings(max_examples=1000, suppress_health_check=QUIET)
@given(data=st.data())
def test_a_damaged_file_is_taken_or_refused_by_name_deep(name, data, tmp_path):
    check_one_file(name, data, tmp_path)


# --- a run's folder ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run, and one with three iterations to go."""
    folder = tmp_path_factory.mktemp("runs")
    finished = make_run(folder / "finished", schedule="quick")
    stopped = make_run(folder / "stopped", schedule="quick", stop=30)
    (stopped / CHIP_TABLE).write_text(GOOD_CSV)
    (finished / CHIP_TABLE).write_text(GOOD_CSV)
    return finished, stopped


def resume(path):
    """Resume a run; returns what it said."""
    said = []
    folder = RunFolder.open(path)
    config = resumed_config(folder, {})
    small = config.task.training.epochs_per_iteration == 1 and (config.search.iterations or 0) < 400
    if config.device.device == "golden" and small:
        with mock.patch("algo.runs.learning_curve.learning_curve", return_value=b""):
            run(config, folder, chip=EvolverChip(), evaluator=MadeUp(8), say=said.append)
    return said


RUN_FILES = (CONFIG, TRACE, CHECKPOINT, Q_TABLE, SUMMARY, CHIP_TABLE)


def check_a_run(name, data, runs, path):
    whole = data.draw(st.sampled_from(runs))
    if not (whole / name).exists():
        return
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(whole, path)
    content = (whole / name).read_bytes()
    if name == TRACE and data.draw(st.booleans()):
        lines = content.splitlines(keepends=True)
        at = data.draw(st.integers(0, len(lines) - 1))
        lines[at] = data.draw(other_json(lines[at])) + b"\n"
        content = b"".join(lines)
    elif name == CHECKPOINT and data.draw(st.booleans()):
        content = rezipped(content, "unit.json", data, data.draw(st.sampled_from([other_json, other_bytes])))
    elif name.endswith(".json") and data.draw(st.booleans()):
        content = data.draw(other_json(content))
    else:
        content = data.draw(other_bytes(content))
    (path / name).write_bytes(content)
    # Whoever wants a summary or a step, and finds none, says so of the folder.
    taken_or_refused(lambda: load_runs([path]), path)
    taken_or_refused(lambda: RunFolder.open(path).summary, path / SUMMARY)
    taken_or_refused(lambda: RunFolder.open(path).load_checkpoint(), path / CHECKPOINT, path / TRACE)
    shutil.rmtree(path)
    shutil.copytree(whole, path)
    (path / name).write_bytes(content)
    taken_or_refused(lambda: resume(path), path)


@pytest.mark.parametrize("name", RUN_FILES)
@settings(max_examples=15, suppress_health_check=QUIET)
@given(data=st.data())
def test_a_run_with_a_damaged_file_is_taken_or_refused_by_name(name, data, runs, tmp_path):
    check_a_run(name, data, runs, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN_FILES)
@settings(max_examples=300, suppress_health_check=QUIET)
@given(data=st.data())
def test_a_run_with_a_damaged_file_is_taken_or_refused_by_name_deep(name, data, runs, tmp_path):
    check_a_run(name, data, runs, tmp_path / "run")


def test_a_changed_configuration_is_refused_with_its_field_and_what_is_allowed(runs, tmp_path):
    config = json.loads((runs[1] / CONFIG).read_text())
    for field, value, said in (
        ("iterations", "many", "iterations must be a whole number or null, not 'many'"),
        ("seed", 1.5, "seed must be a whole number, not 1.5"),
        ("alpha", [0.25], r"alpha must be a finite number, not [0.25]"),
        ("objective", None, "objective must be text, not None"),
        ("fold_batch_norm", 1, "fold_batch_norm must be true or false, not 1"),
        ("latency_th_ms", 10**400, "latency_th_ms (--latency-th) must be a finite number"),
        ("weights", "lost", "weights must be one of carried, restarted or null, not 'lost'"),
        ("width", 0, "width must be in 1..512, not 0"),
    ):
        path = tmp_path / field
        shutil.copytree(runs[1], path)
        part = {"iterations": "search", "alpha": "unit", "objective": "objective", "fold_batch_norm": "training",
                "latency_th_ms": "objective", "weights": "task", "width": "task", "seed": ""}[field]  # fmt: skip
        changed = copy.deepcopy(config)
        inner = changed["task"]["training"] if part == "training" else changed[part] if part else changed
        inner[field] = value
        (path / CONFIG).write_text(json.dumps(changed))
        for use in (lambda path=path: load_runs([path]), lambda path=path: resumed_config(RunFolder.open(path), {})):
            with pytest.raises(RunFolderError) as caught:
                use()
            assert str(path / CONFIG) in str(caught.value) and said in str(caught.value)


def test_a_checkpoint_that_lacks_a_part_of_the_unit_is_refused_by_its_name(runs, tmp_path):
    with zipfile.ZipFile(runs[1] / CHECKPOINT) as archive:
        header = json.loads(archive.read("unit.json"))
    for part in header["unit"]:
        path = tmp_path / part
        shutil.copytree(runs[1], path)
        with zipfile.ZipFile(path / CHECKPOINT, "w") as archive:
            archive.writestr("unit.json", json.dumps(without(header, ("unit", part))))
            archive.writestr("evaluator.bin", b"")
        with pytest.raises(
            RunFolderError, match=rf"{path / CHECKPOINT} is not of this run: .*({part}|saved unit None)"
        ):
            resume(path)


DAMAGED_SUMMARIES = ["{", "[]", "{}", '{"data": 1}', "\xff", "[" * 100_000, "another depth"]


def damage_summary(path, damage):
    """Damage the summary of a run; returns what it holds then."""
    if damage == "another depth":
        content = json.loads((path / SUMMARY).read_text())
        content["found"] |= {name: [8] * 7 for name in ("weight_bits", "activation_bits")}
        damage = json.dumps(content)
    (path / SUMMARY).write_bytes(damage.encode("latin-1"))
    return (path / SUMMARY).read_bytes()


@pytest.mark.parametrize("damage", DAMAGED_SUMMARIES)
def test_a_damaged_summary_is_named_by_who_reads_it_and_made_again_by_resume(damage, runs, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(runs[0], path)
    damaged = damage_summary(path, damage)
    with pytest.raises(RunFolderError, match=rf"summary\.json is damaged: .*; make it again: .* --resume --out {path}"):
        load_runs([path])
    said = resume(path)
    aside = path / f"{SUMMARY}.aside-1"
    assert any(f"it is put aside as {aside}" in one for one in said) and aside.read_bytes() == damaged
    for name in (SUMMARY, TRACE):
        assert (path / name).read_bytes() == (runs[0] / name).read_bytes()


def test_a_run_resumes_from_files_saved_with_a_byte_order_mark(runs, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(runs[1], path)
    for name in (CONFIG, TRACE):
        (path / name).write_bytes(b"\xef\xbb\xbf" + (path / name).read_bytes())
    resume(path)
    assert (path / TRACE).read_bytes() == (runs[0] / TRACE).read_bytes()


@pytest.mark.parametrize("damage", DAMAGED_SUMMARIES)
def test_an_experiments_run_with_a_damaged_summary_is_finished_again(damage, runs, tmp_path, monkeypatch, capsys):
    path = tmp_path / "run"
    shutil.copytree(runs[0], path)
    damaged = damage_summary(path, damage)
    stored = RunFolder(path).config
    monkeypatch.setattr(experiment_runs, "config_of", lambda *_: TuneConfig.from_json(stored))
    monkeypatch.setattr(experiment_runs, "_parts", lambda *_: {"chip": EvolverChip(), "evaluator": MadeUp(8)})
    monkeypatch.setattr("algo.runs.learning_curve.learning_curve", lambda steps: b"")
    experiment_runs.perform_run(experiment_runs.Run("energy", 1, "quick", "golden", "digits", str(path)))
    aside = path / f"{SUMMARY}.aside-1"
    assert f"{path / SUMMARY} is damaged" in (said := capsys.readouterr().err) and str(aside) in said
    assert aside.read_bytes() == damaged
    for name in (SUMMARY, TRACE):
        assert (path / name).read_bytes() == (runs[0] / name).read_bytes()


# --- experiments ---------------------------------------------------------------------------------------------


def test_damaged_data_of_an_experiment_are_made_again(tmp_path, monkeypatch):
    class Tiny:
        def configuration(self, settings):
            return {"n": 1}

        def compute(self, settings):
            return {"figure": 2}

        def present(self, data):
            return base.Page([base.Row("figure", "1", f"{data['figure']:d}")], b"", "a plot")

    monkeypatch.setattr(base, "load", lambda name: Tiny())
    place = base.Settings(out=tmp_path)
    assert not base.perform("tiny", place).repeated and base.perform("tiny", place).repeated
    path = tmp_path / "tiny" / base.DATA
    whole = path.read_text()
    for damage in ("", "{", "[]", "[" * 100_000, "5", '{"configuration": 5}', whole.replace("cpu", "cpx")):
        path.write_text(damage)
        assert not base.perform("tiny", place).repeated
    path.write_text(whole.replace('"figure": 2', '"figure": "two"'))
    with pytest.raises(ValueError, match=r"data\.json cannot be shown: .*; remove it, and it will be made again"):
        base.perform("tiny", place)


# --- the place that all go through ---------------------------------------------------------------------------


def test_any_error_of_a_reader_becomes_one_that_names_the_file():
    path = Path("some") / "file"
    for error, said in (
        (RecursionError("maximum recursion depth"), "some/file cannot be used: it is nested too deeply"),
        (MemoryError("Unable to allocate"), "some/file cannot be used: MemoryError: Unable to allocate"),
        (KeyError("rows"), "some/file cannot be used: it has no 'rows'"),
        (AssertionError(), "some/file cannot be used: AssertionError"),
        (EOFError("ended\nearly"), "some/file cannot be used: EOFError: ended early"),
        (OSError("not a gzipped file"), "some/file cannot be used: OSError: not a gzipped file"),
        (ValueError("some/file line 3: no number"), "some/file line 3: no number"),
    ):
        with pytest.raises(RunFolderError) as caught, reading(path, raises=RunFolderError):
            raise error
        assert str(caught.value) == said and caught.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ModuleNotFoundError("yaml"), FileNotFoundError(2, "none", "f")])
def test_what_is_no_fault_of_the_content_passes_a_reader(error):
    with pytest.raises(type(error)) as caught, reading(Path("file")):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", '{"a": 1, "b": {"c": 1, "c": 2}}', "key 'c' occurs twice"),
        ("a.yaml", "a: 1\nb:\n  c: 1\n  c: 2\n", r"key 'c' occurs twice .*line 4"),
        ("a.toml", "a = 1\na = 2\n", "is not valid TOML"),
        ("a.yaml", "a: 010\n", r"010 is an octal number in YAML: write it in decimal.* line 1, column 4"),
        ("a.yaml", "a: -0_17\n", "octal"),
        ("a.yaml", "a: 1:30\n", "1:30 is a number to base 60"),
        ("a.yaml", "a: 1:30.5\n", "1:30.5 is a number to base 60"),
        ("a.yaml", "a: 2024-05-03\n", r"datetime.date.* is a date: .*put text in quotes"),
        ("a.toml", "a = 2024-05-03\n", "is a date"),
        ("a.yaml", "1: 2\n", "key 1 is not text"),
        ("a.yaml", "a: !!python/object:os.system {}\n", "could not determine a constructor"),
        ("a.yaml", "a: &x [*x]\n", "Circular reference"),
        ("a.json", '{"a": "\\ud800"}', "it is not text in UTF-8"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.yaml", "[" * 5_000, "nested too deeply"),
        ("a.json", "9" * 5_000, "Exceeds the limit"),
        ("a.yaml", "a: " + "9" * 5_000, "Exceeds the limit"),
        ("a.toml", "a = " + "9" * 5_000, "Exceeds the limit"),
    ],
)  # fmt: skip
def test_values_that_are_ambiguous_or_none_are_refused(name, text, said, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        read_values(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name} is not valid ")


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", '{"a": [10, 1e-3, "010"]}'), ("a.TOML", 'a = [10, 1e-3, "010"]'), ("a.YML", 'a: [10, 1e-3, "010"]')],
)
def test_values_are_read_with_and_without_a_byte_order_mark(mark, name, text, tmp_path):
    (tmp_path / name).write_text(mark + text, encoding="utf-8")
    assert read_values(tmp_path / name) == {"a": [10, 0.001, "010"]}


def test_yaml_merges_mappings_with_keys_that_both_have(tmp_path):
    (tmp_path / "a.yaml").write_text("a: {b: &x {c: 1, d: 2}}\ne: {<<: *x, c: 3}\nf: &y {<<: *x, d: 4}\ng: {<<: *y}\n")
    assert read_values(tmp_path / "a.yaml")["g"] == {"c": 1, "d": 4}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_json_is_read_as_written(value):
    assert parse_json(json.dumps(value)) == value
    assert parse_json(b"\xef\xbb\xbf" + json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("value", "hint", "said"),
    [
        (True, int, "x must be a whole number, not True"),
        (True, float, "x must be a finite number, not True"),
        (10**400, float, "x must be a finite number, not 1000"),
        (float("nan"), float | None, "x must be a finite number or null, not nan"),
        ([1, "a"], list[int], r"x must be a list, each item a whole number, not \[1, 'a'\]"),
        ([[1]], list[tuple[float, float]], "each item a list of 2 items"),
        ({"a": 1}, dict[str, str], "x must be an object, not"),
        ("a" * 1000, int, r"not 'a+\.\.\.a+'$"),
    ],
)
def test_a_value_of_another_type_is_refused_in_words(value, hint, said):
    with pytest.raises(ValueError, match=said):
        check_type(value, hint, "x")


@pytest.mark.parametrize(
    ("value", "hint"),
    [(3, float), (None, float | None), ([[1, 2.5]], list[tuple[float, float]]), ({"a": [1]}, dict[str, list[int]])],
)
def test_a_value_of_the_type_passes(value, hint):
    check_type(value, hint, "x")
