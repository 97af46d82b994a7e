"""The commands as a user types them: real processes, exit codes, JSON, bad input, kills and resumes."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from algo.bench import table
from algo.cli import main
from rtl.spec.params import RLUParams
from sim.files import write_atomically
from tests.places import ROOT

# As small as a run can be that really trains.
TASK = ["--width", "2", "--local-size", "60", "--threads", "1", "--seed", "3"]
SMALL = ["--unit", "published", "--schedule", "quick", *TASK]


def rlu(*arguments, **options):
    command = [sys.executable, "-m", "algo.cli", *map(str, arguments)]
    options = {"env": os.environ | {"PYTHONPATH": str(ROOT)}} | options
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run on the golden device, trained for real."""
    path = tmp_path_factory.mktemp("runs") / "golden"
    done = rlu("tune", *SMALL, "--out", path, "--json")
    assert done.returncode == 0, done.stderr
    return path, json.loads(done.stdout)


def test_help_lists_the_commands():
    done = rlu("--help")
    assert done.returncode == 0
    for command in ("tune", "lockstep", "compare", "verilog", "score", "bench"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)


def test_tune_writes_its_folder_and_one_json_object(finished):
    path, summary = finished
    names = {"config.json", "inputs.json", "trace.jsonl", "checkpoint.zip", "q_table.json", "summary.json"}
    names.add("learning-curve.png")
    assert {p.name for p in path.iterdir()} == names
    assert summary["iterations"] == 33 and summary["trained"] > 20 and summary["data"].startswith("digits")
    lines = [json.loads(line) for line in (path / "trace.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == list(range(33))
    assert {line["served"] for line in lines} <= {"trained", "skipped"}


def test_tune_on_the_simulated_rtl_agrees(finished, tmp_path):
    path, _ = finished
    done = rlu("tune", *SMALL, "--device", "sim", "--out", tmp_path / "sim")
    assert done.returncode == 0, done.stderr
    assert "the golden model agreed with the RTL in all" in done.stdout
    assert (tmp_path / "sim" / "trace.jsonl").read_bytes() == (path / "trace.jsonl").read_bytes()
    compared = rlu("compare", path, tmp_path / "sim", "--json")
    assert compared.returncode == 0 and json.loads(compared.stdout)["agree"] is True


def test_compare_of_different_runs_names_the_place(finished, tmp_path):
    path, _ = finished
    other = tmp_path / "other"
    shutil.copytree(path, other)
    trace = other / "trace.jsonl"
    trace.write_text(trace.read_text().replace('"accuracy": 0.', '"accuracy": 0.0', 1))
    done = rlu("compare", path, other)
    assert done.returncode == 1 and re.match(r"iteration \d+: accuracy is 0\.", done.stdout)


def start(*arguments):
    command = [sys.executable, "-m", "algo.cli", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        # A shell has background jobs ignore Ctrl-C, and these tests with them; a terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def wait_for_lines(process, trace, count):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if trace.exists() and trace.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.005)
    raise AssertionError(f"no {count} iterations: {process.communicate()}")


@pytest.mark.parametrize(
    ("sign", "device"),
    [
        pytest.param(signal.SIGKILL, "sim", id="SIGKILL-sim", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "golden", id="SIGINT-golden"),
        pytest.param(signal.SIGKILL, "golden", id="SIGKILL-golden"),
        pytest.param(signal.SIGINT, "sim", id="SIGINT-sim", marks=pytest.mark.slow),
    ],
)
def test_killed_and_resumed_ends_in_the_same_bytes(finished, tmp_path, sign, device):
    path, _ = finished
    out = tmp_path / "run"
    whole = (path / "trace.jsonl").read_bytes().count(b"\n")
    for _ in range(5):  # on a busy machine all iterations may be done before it is stopped
        process = start("tune", *SMALL, "--device", device, "--out", out)
        wait_for_lines(process, out / "trace.jsonl", 6)
        process.send_signal(signal.SIGSTOP)  # it must not end before the second one tries
        if (out / "trace.jsonl").read_bytes().count(b"\n") < whole:
            break
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=60)
        shutil.rmtree(out)
    second = rlu("tune", *(["--resume"] if sign == signal.SIGKILL else []), "--out", out)
    assert second.returncode == 2 and f"{out} is in use by process {process.pid} on" in second.stderr
    process.send_signal(sign)  # before it goes on: it might be done before another signal comes
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if sign == signal.SIGINT else -signal.SIGKILL), said
    if sign == signal.SIGINT:
        assert re.search(r"interrupted after \d+ iterations; resume: rlu tune --resume --out", said)
    assert "Traceback" not in said
    done = rlu("tune", "--resume", "--out", out)
    assert done.returncode == 0, done.stderr
    assert (out / "trace.jsonl").read_bytes() == (path / "trace.jsonl").read_bytes()
    assert (out / "q_table.json").read_bytes() == (path / "q_table.json").read_bytes()


def test_a_search_that_plans_and_is_killed_ends_in_the_same_bytes(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert rlu("tune", *TASK, "--iterations", 12, "--out", whole).returncode == 0
    process = start("tune", *TASK, "--iterations", 12, "--out", out)
    wait_for_lines(process, out / "trace.jsonl", 6)
    process.kill()
    process.communicate(timeout=60)
    done = rlu("tune", "--resume", "--out", out)
    assert done.returncode == 0, done.stderr
    for name in ("trace.jsonl", "summary.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_a_simulator_that_dies_leaves_the_run_resumable(finished, tmp_path):
    path, _ = finished
    out = tmp_path / "run"
    process = start("tune", *SMALL, "--device", "sim", "--out", out)
    wait_for_lines(process, out / "trace.jsonl", 5)
    # The child of the command is the simulation's process group leader.
    child = subprocess.run(
        ["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    os.killpg(int(child), signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and "the simulator died" in said and "Traceback" not in said
    assert f"the run can be resumed: rlu tune --resume --out {out}" in said
    assert rlu("tune", "--resume", "--out", out).returncode == 0
    assert (out / "trace.jsonl").read_bytes() == (path / "trace.jsonl").read_bytes()


CLOSINGS = {"2>&-": [2], "<&- >&- 2>&-": [0, 1, 2]}


def closed(descriptors, *arguments, **options):
    """A command that is started with standard streams closed; its exit code."""
    command = [sys.executable, "-m", "algo.cli", *map(str, arguments)]
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, stdout=subprocess.DEVNULL,
        preexec_fn=lambda: [os.close(number) for number in descriptors], **options,
    ).returncode  # fmt: skip


@pytest.mark.parametrize("closing", CLOSINGS)
def test_commands_work_without_standard_streams_and_keep_their_exit_codes(finished, tmp_path, closing):
    path, descriptors = finished[0], CLOSINGS[closing]
    assert closed(descriptors, "report", path, "-o", tmp_path / "page.html") == 0
    assert (tmp_path / "page.html").read_text().rstrip().endswith("</html>")
    cells = tmp_path / "cells"
    search = ("search", "--table", "synthetic", "--method", "random", "--seeds", 1, "--budget", 3, "--folder", cells)
    assert closed(descriptors, *search) == 0 and len(list(cells.iterdir())) == 1
    shutil.copytree(path, tmp_path / "other")
    (tmp_path / "other" / "trace.jsonl").write_text("")
    assert closed(descriptors, "compare", path, tmp_path / "other") == 1
    assert closed(descriptors, "tune", "--seed", 0) == closed(descriptors, "no-such-command") == 2


@pytest.mark.parametrize("device", ["golden", pytest.param("sim", marks=pytest.mark.slow)])
def test_tune_without_standard_streams_writes_what_it_does_with_them(finished, tmp_path, device):
    path, _ = finished
    assert closed([0, 1, 2], "tune", *SMALL, "--device", device, "--out", tmp_path / "run") == 0
    assert {p.name for p in (tmp_path / "run").iterdir()} == {p.name for p in path.iterdir()}
    # A stream's number must not have gone to a file of the run.
    for name in ("trace.jsonl", "q_table.json", "inputs.json"):
        assert (tmp_path / "run" / name).read_bytes() == (path / name).read_bytes()


def test_a_message_that_cannot_be_written_leaves_the_exit_code(tmp_path):
    for arguments in (["no-such-command"], ["compare", "a", "b"]):
        with Path("/dev/full").open("w") as full:
            command = [sys.executable, "-m", "algo.cli", *arguments]
            # With a buffer, which Python empties at its end, as without.
            for unbuffered in ("", "1"):
                environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
                done = subprocess.run(command, cwd=tmp_path, env=environment, stderr=full, check=False)
                assert done.returncode == 2


def test_restarted_weights_serve_repeats_from_the_cache(tmp_path):
    done = rlu(
        "tune", *SMALL, "--weights", "restarted", "--accuracy-th", "0", "--out", tmp_path / "run", "--json"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["cached"] > 0 and summary["trained"] + summary["cached"] + summary["skipped"] == 33


def test_lockstep(tmp_path):
    done = rlu("lockstep", "--states", 6, "--actions", 5, "--episodes", 10, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["identical"] is True and report["episodes"] == 10 and report["divergence"] is None
    assert rlu("verilog", "--states", 6, "--actions", 5, "-o", tmp_path / "rlu.v").returncode == 0
    text = (tmp_path / "rlu.v").read_text()
    (tmp_path / "rlu.v").write_text(re.sub(r"(assign right_wins_\w+ = )(\{.*\}) < (\{.*\});", r"\1~(\3 < \2);", text))
    done = rlu("lockstep", "--states", 6, "--actions", 5, "--rtl", tmp_path / "rlu.v")
    assert done.returncode == 1
    assert re.search(r"DIVERGED in episode \d+, cycle \d+: sampled action \d+ differs", done.stdout)


def test_lockstep_compares_several_units_by_default_and_one_that_is_given(monkeypatch, capsys):
    small = RLUParams(states=4, actions=3), RLUParams(states=6, actions=5, episodes=2)
    monkeypatch.setattr("sim.stimulus.units", lambda seed: small)
    main(["lockstep", "--episodes", "3", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["identical"] and report["episodes"] == 6
    assert report["units"] == ["4 states x 3 actions", "6 states x 5 actions episodes=2"]
    main(["lockstep", "--episodes", "3", "--states", "6", "--actions", "5", "--gamma", "0.5"])
    said = capsys.readouterr().out
    assert said.startswith("unit: 6 states x 5 actions\n3 episodes, ") and said.endswith("identical\n")


def test_verilog_for_a_technology(tmp_path):
    small = ["verilog", "--states", "2", "--actions", "2", "--technology"]
    assert "CCU2C" in rlu(*small, "ecp5").stdout
    done = rlu(*small, "ice40", "-o", tmp_path / "ip")
    assert done.returncode == 2 and "no technology 'ice40'; there are: generic, ecp5" in done.stderr
    assert not (tmp_path / "ip").exists()


def test_verilog_goes_to_a_file_or_to_the_screen(tmp_path):
    parameters = ["--states", "2", "--actions", "3", "--action-counts", "3,2", "--lfsr-width", "8"]
    shown = rlu("verilog", *parameters)
    assert shown.returncode == 0 and "\nmodule rlu(" in shown.stdout
    done = rlu("verilog", *parameters, "-o", tmp_path / "x.v", "--json")
    answer = json.loads(done.stdout)
    assert [Path(name).name for name in answer["files"]] == ["x.v", "x.json", "x.vlt"]
    assert (tmp_path / "x.v").read_text() == shown.stdout
    assert json.loads((tmp_path / "x.json").read_text())["parameters"]["action_counts"] == [3, 2]


def test_score():
    done = rlu("score", "--weights", "0.25,0.10,0.65", "--accuracy", 0.6861, "--latency", 7.33, "--energy", 55.68)
    assert done.returncode == 0 and abs(float(done.stdout) - 0.833) <= 0.002
    done = rlu("score", "--weights", "latency", "--accuracy", 0.7, "--latency", 20, "--energy", 100, "--json")
    assert json.loads(done.stdout) == {"score": 0.0, "outlier": True}


def test_bench_sets_goals_beside_what_it_measured():
    cycles = {"9": {"sample": 17, "update": 18}}
    rates = {"rtl_cocotb_verilator": 512.3, "golden": 2190.0, "golden_batch_1000": 100000.0}
    figures = {"cycles": cycles, "iterations_per_s": rates, "help_ms": 122.0, "load_table_ms": 151.0}
    steps = {"8": {"quantised_to_float": 1.234, "bfloat16_to_float32": None}}
    steps["16"] = {"quantised_to_float": 1.5, "bfloat16_to_float32": 0.625}
    figures["coder_values_per_s"] = {"encode": 1.26e7}
    figures["coder_bits_over_entropy"] = {"2": 1.0149}
    shown = table(figures | {"training_step": steps})
    assert "| encode differences of federated messages | 12.6 million values/s | >= 5 |" in shown
    assert "differences of 2 bits | 1.015 of the entropy of its integers | <= 1.21, or 1.05 |" in shown
    assert "| quantised training step, width 8 | 1.23 float steps | <= 1.3 |" in shown
    assert "| the same in bfloat16, width 16 | 0.62 of that in float32 |  |" in shown
    assert "in bfloat16, width 8" not in shown and "training step" not in table(figures | {"training_step": {}})
    assert "| update a policy of 9 rows | 18 cycles | <= T + 12 = 21 |" in shown
    assert "| search with a table, rtl cocotb verilator | 512 iterations/s | >= 500 |" in shown
    assert "| the published search from 1,000 seeds | 3.3 s | < 15 |" in shown
    assert "| first table of QVF-Bench, imports included | 151 ms | < 200 |" in shown


@pytest.mark.slow
def test_bench_measures_what_was_asked_for():
    done = rlu("bench", "--seconds", "0.2", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    for rows, cycles in figures["cycles"].items():
        assert cycles["sample"] <= int(rows) + 8 and cycles["update"] <= int(rows) + 12
    assert all(rate > 0 for rate in figures["iterations_per_s"].values()) and figures["help_ms"] > 0
    assert figures["load_table_ms"] > 0
    assert (
        set(figures["coder_values_per_s"]) == {"encode", "decode"} and min(figures["coder_values_per_s"].values()) > 0
    )
    assert all(1 <= ratio < 1.05 for ratio in figures["coder_bits_over_entropy"].values())
    assert all(step["quantised_to_float"] > 0 for step in figures["training_step"].values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tune", "--objective", "0.5,0.2,0.2"], "the weights a,b,c must sum to 1"),
        (["tune", "--seed", "0"], "seed must be in 1..65535 with an LFSR of 16 bits, not 0"),
        (["tune", "--seed", "70000"], "seed must be in 1..65535 with an LFSR of 16 bits, not 70000"),
        (["tune", "--seed", "x"], "'x' is not a valid integer"),
        (["tune", "--device", "fpga"], "device must be one of golden, sim, serial:PORT, not 'fpga'"),
        (["tune", "--device", "serial:/dev/nowhere"], "no serial port /dev/nowhere; the ports here are: "),
        (["tune", "--device", "serial:/dev/null@fast"], "a serial port is PORT or PORT@BAUD, such as /dev/ttyUSB0@"),
        (["tune", "--data", "mnist-1000"], "unknown data set 'mnist-1000': choose one of digits, fashion-mnist"),
        (["tune", "--data", "cifar10", "--data-folder", "nowhere"], "nowhere"),
        (["lockstep", "--states", "257"], "states must be a whole number in 1..256, not 257"),
        (["lockstep", "--actions", "17"], "actions must be a whole number in 2..16, not 17"),
        (["lockstep", "--alpha", "1.5"], "alpha must be in 0..1, not 1.5"),
        (["lockstep", "--rtl", "no.v"], "--rtl no.v is not a file"),
        (["verilog", "--lfsr-width", "7"], "lfsr_width must be one of [8, 16, 32], not 7"),
        (["verilog", "--action-counts", "3,x"], "--action-counts must be whole numbers N,N,..., not '3,x'"),
        (["verilog", "-o", "rlu.json"], "a Verilog file ends in .v or .sv, not 'rlu.json'"),
        (["score", "--weights", "1,1,1", "--accuracy", "1", "--latency", "1", "--energy", "1"], "must sum to 1"),
        (["score", "--weights", "energy", "--accuracy", "68", "--latency", "1", "--energy", "1"],
         "accuracy must be a fraction in 0..1, not 68"),
        (["score", "--weights", "energy", "--accuracy", "1", "--latency", "-1", "--energy", "1"],
         "latency_ms must be a number of 0 or more, not -1"),
        (["compare", "a", "b"], "a holds no run"),
        (["bench", "--seconds", "0"], "seconds must be above 0, not 0"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_input_is_named_with_exit_code_2(arguments, said, tmp_path):
    done = rlu(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_damaged_data_file_is_named(tmp_path):
    np.savez(tmp_path / "own.npz", images=np.zeros((90, 8, 8), np.uint8), labels=np.arange(90) % 3)
    content = (tmp_path / "own.npz").read_bytes()
    (tmp_path / "own.npz").write_bytes(content[: len(content) // 2])
    done = rlu("tune", "--data", "own.npz", cwd=tmp_path)
    assert done.returncode == 2 and "own.npz" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()  # so that the corrected command finds no folder of its own


@pytest.mark.parametrize(("side", "code"), [(8, 0), (7, 2)])
def test_own_images_of_8x8_are_tuned_on_and_smaller_ones_refused(side, code, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = labels[:, None, None] + rng.normal(size=(90, side, side))
    np.savez(tmp_path / "own.npz", images=images.astype(np.float32), labels=labels)
    done = rlu("tune", "--data", "own.npz", "--iterations", 2, "--width", 2, "--out", "run", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert ("at least 8x8 pixels, not 7x7" in done.stderr) == bool(code) and "Traceback" not in done.stderr


def test_resume_with_another_setting_names_the_field(finished):
    path, _ = finished
    done = rlu("tune", "--resume", "--out", path, "--seed", 4)
    assert done.returncode == 2 and "was begun with seed = 3, not 4" in done.stderr


def test_a_folder_in_use_is_not_overwritten(finished):
    path, _ = finished
    done = rlu("tune", *SMALL, "--out", path)
    assert done.returncode == 2 and "is not empty: continue it with --resume" in done.stderr


def test_a_file_is_no_folder_for_a_run(tmp_path):
    (tmp_path / "file").write_text("")
    done = rlu("tune", "--resume", "--out", tmp_path)
    assert done.returncode == 2 and f"{tmp_path} holds no run: it has no config.json" in done.stderr
    done = rlu("tune", *SMALL, "--out", tmp_path / "file")
    assert done.returncode == 2 and "file is a file, not a folder: choose another --out" in done.stderr


def test_a_full_disk_is_named_with_what_to_do(tmp_path, monkeypatch, capsys):
    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    (tmp_path / "regs.h").write_text("old")
    with pytest.raises(SystemExit) as exit_:
        main(["registers", "--format", "c", "-o", str(tmp_path / "regs.h")])
    said = capsys.readouterr().err
    assert exit_.value.code == 2 and f"{tmp_path / 'regs.h'}: No space left on device: make room, or" in said
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("regs.h", "old")]
    monkeypatch.undo()
    with pytest.raises(SystemExit) as exit_:
        main(["registers", "--format", "c", "-o", str(tmp_path / "regs.h" / "x")])
    assert exit_.value.code == 2 and ": Not a directory: choose another path (-o" in capsys.readouterr().err


def test_writers_of_one_file_do_not_meet_in_a_temporary_one(tmp_path):
    """Threads stand for processes of the same number, in containers that share a folder."""
    contents = [bytes([65 + k]) * 300_000 for k in range(4)]

    def write(content):
        for _ in range(10):
            write_atomically(tmp_path / "cell", content)
            assert (tmp_path / "cell").read_bytes() in contents

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, contents))
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]


def test_links_and_devices_are_written_through(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(Path("folder") / "target")
    for text in ("first", "second"):
        write_atomically(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink() and (tmp_path / "folder" / "target").read_text() == text
    os.mkfifo(tmp_path / "fifo")
    end = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(tmp_path / "fifo", "through")
        assert (tmp_path / "fifo").is_fifo() and os.read(end, 100) == b"through"
    finally:
        os.close(end)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "folder", "link"]


def test_a_missing_compiler_and_a_missing_simulator_are_named(tmp_path):
    """A PATH with nothing on it but Python."""
    environment = os.environ | {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = rlu("lockstep", env=environment)
    assert done.returncode == 2 and "g++, which verilator needs, is not installed: apt-get install g++" in done.stderr
    done = rlu("tune", "--device", "sim", "--simulator", "icarus", "--out", tmp_path / "run", env=environment)
    assert done.returncode == 2 and "iverilog, which icarus needs, is not installed" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_verilog_file_that_does_not_compile_is_named(tmp_path):
    (tmp_path / "broken.v").write_text("module rlu(input clk; endmodule\n")
    done = rlu("lockstep", "--rtl", tmp_path / "broken.v")
    assert done.returncode == 2 and "verilator did not accept broken.v" in done.stderr
    assert "Traceback" not in done.stderr
