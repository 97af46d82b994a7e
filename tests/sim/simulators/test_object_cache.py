"""Objects of the simulator's runtime are compiled once, and again whenever it matters."""

import os
import subprocess
import sys

import pytest

from sim.simulators import object_cache


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """Compiles a file of a runtime, or another, in a build folder of its own; returns the object, or the exit code."""
    runtime = tmp_path / "include"
    runtime.mkdir()
    monkeypatch.setenv("VERILATOR_ROOT", str(tmp_path))

    def run(build, source=runtime / "runtime.cpp", *flags):
        target = tmp_path / build / f"{source.stem}.o"
        target.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-S", object_cache.__file__, str(tmp_path / "kept"), "g++", *flags]
        done = subprocess.run(
            [*command, "-c", "-o", str(target), str(source)], capture_output=True, check=False, cwd=target.parent
        )
        return target.read_bytes() if done.returncode == 0 else done.returncode

    run.source = runtime / "runtime.cpp"
    run.kept = tmp_path / "kept"
    run.source.write_text("int answer() { return 42; }\n")
    return run


def change_unnoticed(path, text):
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_runtime_is_compiled_once(compiled):
    first = compiled("a")
    change_unnoticed(compiled.source, "this does not compile")
    assert compiled("b") == first
    assert len(list(compiled.kept.iterdir())) == 1


def test_other_flags_or_another_file_time_compile_again(compiled):
    first = compiled("a")
    assert compiled("b", compiled.source, "-O2") != first
    os.utime(compiled.source, (1, 1))
    compiled.source.write_text("int another() { return 43; }\n")
    assert b"another" in compiled("c")
    assert len(list(compiled.kept.iterdir())) == 3


def test_what_is_not_of_the_runtime_is_not_kept(compiled, tmp_path):
    design = tmp_path / "design.cpp"
    design.write_text("int design() { return 1; }\n")
    assert b"design" in compiled("a", design)
    change_unnoticed(design, "int changed() { return 1; }\n")
    assert b"changed" in compiled("b", design)
    assert not compiled.kept.exists()


def test_a_refused_file_is_refused_and_not_kept(compiled):
    compiled.source.write_text("this does not compile")
    assert compiled("a") == 1
    assert not compiled.kept.exists()


def test_a_cache_that_cannot_be_written_does_not_matter(compiled):
    compiled.kept.write_text("a file where the folder should be")
    assert b"answer" in compiled("a")
