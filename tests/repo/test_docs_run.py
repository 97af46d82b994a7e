"""Every command and snippet of every page runs, as printed; what cannot says on its page why, and is looked up.

The blocks of one page run in order in one scratch folder, with the environment's `rlu` and `python` on PATH. Where a
page names a file or a run of the reader's, such as `FILE.npz` or `runs/demo`, there is one of that name. Markers in
the page (`tests/pages.py`) tell what is slow and what is never run.
"""

from __future__ import annotations

import doctest
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
import yaml

from algo.cli import rlu
from tests.pages import PAGES, REASONS, ROOT, Block, blocks_of, commands_in_prose

BLOCKS = {
    page.relative_to(ROOT).as_posix(): blocks_of(page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8"))
    for page in PAGES
}
#: A name that stands for the reader's own, in a command that is only looked up.
PLACEHOLDER = re.compile(r"[A-Z][A-Z_.,a-z-]*|.*\b[A-Z]{2,}\b.*|\.\.\.")
_ENVIRONMENT = Path(sys.prefix)


# What a reader has.


def _images(path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 180)
    patterns = generator.normal(size=(3, 8, 8))
    images = patterns[labels] + 0.5 * generator.normal(size=(180, 8, 8))
    np.savez(path, images=images.astype(np.float32), labels=labels)


def _chip(path: Path) -> None:
    main_quietly("chip", "table", "--chip", "evolver", "--format", "csv", "-o", str(path))


def _table(path: Path) -> None:
    from algo.search.tables.table_file import write_table
    from tests.small_tables import small_table

    write_table(small_table(), path)


def _verilog(path: Path) -> None:
    main_quietly("verilog", "-o", str(path))


def _run(path: Path) -> None:
    """A finished run of `rlu tune`, short but else as any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    main_quietly("tune", "--iterations", "3", "--out", str(path))


def _unfinished_run(path: Path) -> None:
    """One that Ctrl-C ended after an iteration, in a process of its own, as a reader's would be."""
    code = f"""
import dataclasses, pathlib
from algo.runs.run_folder import RunFolder
from algo.runs.config import TuneConfig
from algo.runs.tune import run

def interrupt(step, total):
    raise KeyboardInterrupt

config = TuneConfig.of(iterations=3)
try:
    run(config, RunFolder.create(pathlib.Path({str(path)!r}), config.to_json()), on_step=interrupt)
except KeyboardInterrupt:
    pass
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert not (path / "summary.json").exists()


READERS: dict[str, Callable[[Path], None]] = {
    "FILE.npz": _images,
    "FILE.csv": _chip,
    "FILE.parquet": _table,
    "FILE.v": _verilog,
    "FOLDER": _unfinished_run,
    **dict.fromkeys(("runs/demo", "runs/a", "runs/b", "RUN_A", "RUN_B"), _run),
}


def main_quietly(*arguments: str) -> None:
    """A command of `rlu` in this process, for what a page takes for granted."""
    try:
        rlu.main(list(arguments), prog_name="rlu", standalone_mode=False)
    except SystemExit as end:
        assert not end.code, arguments


def provide(scratch: Path, blocks: list[Block]) -> None:
    """Put what the blocks' commands name into the scratch folder; a second run is a copy of the first."""
    (scratch / ".venv").symlink_to(_ENVIRONMENT)
    made: dict[Callable[[Path], None], Path] = {}
    for name, make in READERS.items():
        if any(re.search(rf"(?<![\w/.]){re.escape(name)}(?![\w/])", block.text) for block in blocks):
            path = scratch / name
            if make in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(made[make], path)
            else:
                make(path)
                made[make] = path


# Running.


def run_page(blocks: list[Block], scratch: Path, *, slow: bool) -> list[str]:
    """Run a page's blocks in order, the slow ones too if asked for; returns what was left out for want of something."""
    wanted = [block for block in blocks if not block.not_run and (slow or not block.slow)]
    here = [block for block in wanted if block.needs is None or _is_there(block.needs)]
    provide(scratch, here)
    before = Path.cwd()
    names: dict[str, object] = {"__name__": "__main__"}
    try:
        os.chdir(scratch)
        for block in here:
            if block.file:
                Path(block.file).write_text(block.text, encoding="utf-8")
            RUNNERS[block.language](block, names)
    finally:
        os.chdir(before)
    return [f"{block.where} needs {block.needs}" for block in wanted if block not in here]


def _is_there(needed: str) -> bool:
    return Path(needed).exists() if needed.startswith("/") else shutil.which(needed) is not None


def _shell(block: Block, script: str) -> str:
    path = os.pathsep.join([str(_ENVIRONMENT / "bin"), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if block.language == "sh":
        assert done.returncode == 0, f"{block.where} ends with {done.returncode}:\n{script}\n{done.stdout[-3000:]}"
    return done.stdout


def _run_sh(block: Block, names: dict[str, object]) -> None:
    _shell(block, block.text)


def _run_console(block: Block, names: dict[str, object]) -> None:
    """Commands after `$ `, each with what it prints."""
    first, *sessions = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert sessions and not first, f"{block.where}: a console block begins with '$ '"
    for session in sessions:
        command, _, printed = session.partition("\n")
        assert _shell(block, command).rstrip() == printed.rstrip(), f"{block.where}: {command} prints something else"


def _run_python(block: Block, names: dict[str, object]) -> None:
    if ">>> " not in block.text:
        exec(compile("\n" * (block.line - 1) + block.text, block.page, "exec"), names)
        return
    said = io.StringIO()
    examples = doctest.DocTestParser().get_doctest(block.text, names, block.where, block.page, block.line - 1)
    result = doctest.DocTestRunner(verbose=False).run(examples, out=said.write, clear_globs=False)
    assert result.attempted and not result.failed, said.getvalue()
    names.update(examples.globs)  # the parser copied them


def _run_c(block: Block, names: dict[str, object]) -> None:
    """A translation unit of its own, or, word for word, part of a file that the page's commands wrote."""

    def words(text: str) -> str:
        return " ".join(text.split())

    written = sorted(Path().rglob("*.c"))
    if any(words(block.text) in words(path.read_text()) for path in written):
        return
    folders = sorted({str(path.parent) for path in Path().rglob("*.h")})
    done = subprocess.run(
        ["gcc", "-std=c11", "-Wall", "-Wextra", "-Wno-unused", "-Werror", "-fsyntax-only", "-x", "c", "-"]
        + [f"-I{folder}" for folder in folders],
        input=block.text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block.where}:\n{done.stderr}"


def _run_verilog(block: Block, names: dict[str, object]) -> None:
    """A file that a later command compiles; there is nothing to run in it by itself."""
    assert block.file, f"{block.where}: Verilog is a file that a later command compiles: name it in a marker"


def _parsed(parse: Callable[[str], object]) -> Callable[[Block, dict[str, object]], None]:
    def runner(block: Block, names: dict[str, object]) -> None:
        assert parse(block.text), block.where

    return runner


RUNNERS: dict[str, Callable[[Block, dict[str, object]], None]] = {
    "sh": _run_sh,
    "console": _run_console,
    "python": _run_python,
    "c": _run_c,
    "verilog": _run_verilog,
    "yaml": _parsed(yaml.safe_load),
    "json": _parsed(json.loads),
    "toml": _parsed(tomllib.loads),
    "csv": _parsed(str.splitlines),
    "text": lambda block, names: None,
}


def _check(page: str, tmp_path: Path, slow: bool) -> None:
    left_out = run_page(BLOCKS[page], tmp_path, slow=slow)
    if left_out:
        reason = "; ".join(left_out)
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.mark.parametrize("page", [page for page, blocks in BLOCKS.items() if blocks])
def test_a_page_runs_as_printed(page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _check(page, tmp_path, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page, blocks in BLOCKS.items() if any(b.slow for b in blocks)])
def test_a_page_runs_as_printed_with_its_slow_commands(page: str, tmp_path: Path) -> None:
    _check(page, tmp_path, slow=True)


# Looking up.


def look_up(command: str, where: str) -> None:
    """That a command exists, and has these options and choices; it is not run.

    Raises:
        AssertionError: if not.
    """
    words = shlex.split(command, comments=True)
    if not words:
        return
    program = words[0].removeprefix(".venv/bin/")
    if program == "rlu":
        _look_up_rlu(words[1:], where)
    elif program in ("python", "python3") and words[1:2] == ["-m"]:
        _look_up_module(words[2], words[3:], where)
    elif program == "make":
        for target in words[1:]:
            _look_up_target(target, where)
    else:
        raise AssertionError(f"{where}: {command!r} is no command of ours, so that only running it can show it right")


def _look_up_rlu(words: list[str], where: str) -> None:
    command: click.Command = rlu
    context = click.Context(rlu, info_name="rlu")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if PLACEHOLDER.fullmatch(words[0]):
            return
        found = command.get_command(context, words[0])
        assert found, f"{where}: there is no command {words[0]!r} in `{context.command_path}`"
        command, context, words = found, click.Context(found, info_name=words[0], parent=context), words[1:]
    try:
        given, extra, _ = command.make_parser(context).parse_args(list(words))
        assert not extra, f"{where}: {context.command_path} takes no argument {extra[0]!r}"
        for parameter in command.params:
            value = given.get(parameter.name)
            if isinstance(value, str) and not PLACEHOLDER.fullmatch(value) and not _is_path(parameter.type):
                for one in value.split("|"):
                    parameter.type.convert(one, parameter, context)
    except click.UsageError as error:
        raise AssertionError(f"{where}: {context.command_path} {shlex.join(words)}: {error.format_message()}") from None


def _is_path(kind: click.ParamType) -> bool:
    return isinstance(kind, click.Path | click.File)


def _look_up_module(module: str, words: list[str], where: str) -> None:
    assert importlib.util.find_spec(module), f"{where}: there is no module {module}"
    options = [word for word in words if word.startswith("-")]
    if not options:
        return
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    known = re.findall(r"--?[\w-]+", done.stdout)
    for option in options:
        assert option in known, f"{where}: python -m {module} has no option {option}"


def _look_up_target(target: str, where: str) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target in targets, f"{where}: make has no target {target}"  # a folder's name would be one for make itself
    done = subprocess.run(["make", "-n", target], capture_output=True, text=True, cwd=ROOT, check=True)
    for line in done.stdout.splitlines():
        if re.match(r"\.venv/bin/(rlu|python -m (tb|docs|algo)\b)", line):
            look_up(line, f"{where}, make {target}")


@pytest.mark.parametrize("page", BLOCKS)
def test_commands_that_are_not_run_exist(page: str) -> None:
    for block in BLOCKS[page]:
        if block.not_run or block.slow:
            for line in block.text.replace("\\\n", " ").splitlines():
                command = line.removeprefix("$ ")
                if block.language == "sh" and re.match(r"rlu |make |(\.venv/bin/)?python -m", command):
                    look_up(command, block.where)
    for command in commands_in_prose((ROOT / page).read_text(encoding="utf-8")):
        look_up(re.sub(r"[\[\]]", "", command), f"{page}, `{command}`")


def test_every_block_says_what_it_is() -> None:
    for blocks in BLOCKS.values():
        for block in blocks:
            assert block.language in RUNNERS, f"{block.where}: a block of {block.language or 'no language'!r}"


def test_every_reason_for_leaving_something_out_is_in_use() -> None:
    used = {block.not_run for blocks in BLOCKS.values() for block in blocks}
    assert set(REASONS) == used - {None}


# Faults planted in a page.

PLANTED = {
    "a command that fails": ("```sh\nrlu score --accuracy high\n```", "page.md:2 ends with 2"),
    "a failing line before a good one": ("```sh\nfalse\ntrue\n```", "page.md:2 ends with 1"),
    "other output": ("```console\n$ echo one; false\ntwo\n```", "page.md:2: echo one; false prints something else"),
    "an example that gives something else": ("```python\n>>> 1 + 1\n3\n```", "line 2, in page.md:2"),
    "Verilog that nothing compiles": ("```verilog\nmodule top; endmodule\n```", "page.md:2: Verilog is a file"),
    "C that does not compile": ("```c\nint one(void) { return two; }\n```", "two"),
    "YAML that is none": ("```yaml\na: [1\n```", "expected ',' or ']'"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    text, said = PLANTED[name]
    with pytest.raises((AssertionError, yaml.YAMLError), match=re.escape(said)):
        run_page(blocks_of("page.md", text), tmp_path, slow=False)


def test_a_snippet_that_raises_fails_at_its_line_of_the_page(tmp_path: Path) -> None:
    page = "# Page\n\n```python\nnumber = 0\n```\n\nAnd:\n\n```python\n1 / number\n```\n"
    with pytest.raises(ZeroDivisionError) as caught:
        run_page(blocks_of("page.md", page), tmp_path, slow=False)
    assert (str(caught.traceback[-1].path), caught.traceback[-1].lineno + 1) == ("page.md", 10)


def test_slow_blocks_wait_for_the_slow_run_and_others_are_never_run(tmp_path: Path) -> None:
    page = """<!-- slow -->
```sh
echo slow >> said
```
<!-- not run: needs a board -->
```sh
echo never >> said
```
"""
    for slow, said in ((False, False), (True, True)):
        folder = tmp_path / str(slow)
        folder.mkdir()
        assert run_page(blocks_of("page.md", page), folder, slow=slow) == []
        assert (folder / "said").exists() is said
    assert (tmp_path / "True" / "said").read_text() == "slow\n"


def test_blocks_share_a_folder_and_a_file_may_be_shown(tmp_path: Path) -> None:
    page = """<!-- file: a.yaml -->
```yaml
a: 1
```

```sh
cat a.yaml
```

<!-- needs: no-such-program -->
```sh
false
```
"""
    assert run_page(blocks_of("page.md", page), tmp_path, slow=False) == ["page.md:12 needs no-such-program"]


@pytest.mark.parametrize("marker", ["not run: no time", "not run", "slwo", "needs:", "slow, never"])
def test_a_marker_that_means_nothing_is_refused(marker: str) -> None:
    with pytest.raises(ValueError, match=r"page.md:1: the marker .* is none of: slow; .* not run: needs a board, or"):
        blocks_of("page.md", f"<!-- {marker} -->\n```sh\ntrue\n```\n")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("rlu tune --speed 3", "No such option"),
        ("rlu tume", "there is no command 'tume'"),
        ("rlu chip table --chip evolver surplus", "takes no argument 'surplus'"),
        ("rlu tune --schedule quickly", "'quickly' is not one of"),
        ("rlu tune --seed one", "'one' is not a valid integer"),
        (".venv/bin/python -m tb.run updater --confg mixed", "has no option --confg"),
        ("python -m tb.runner", "there is no module tb.runner"),
        ("make tests", "make has no target tests"),
    ],
)
def test_a_command_with_a_mistake_is_found_without_running_it(command: str, said: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        look_up(command, "page.md")


def test_commands_in_prose_and_in_the_table_of_uses_are_seen() -> None:
    page = "# Use it\n\nSay `rlu\ntune`.\n\n| a | b |\n| c | <!-- slow -->`rlu bench`, `--json` or `rlu score` |\n"
    assert commands_in_prose(page) == ["rlu tune", "rlu bench", "rlu score"]
    assert [(b.text, b.slow) for b in blocks_of("page.md", page)] == [("rlu bench\n", True), ("rlu score\n", False)]
