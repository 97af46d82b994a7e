"""The `rlu` command. Exit codes: 0 success, 1 a check failed, 2 bad use or a missing tool, 130 interrupted."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator

import click

from algo.commands import chip, experiment, export, fed, nas, report, search, table, tuning, unit
from algo.commands.common import BAD_USE, FAILED, INTERRUPTED, CheckFailed


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rlu-cosim", prog_name="rlu")
def rlu() -> None:
    """The reinforcement-learning unit: tune networks with it, check it, and write its Verilog."""


for _module in (chip, experiment, export, fed, nas, report, search, table, tuning, unit):
    for _name, _command in vars(_module).items():
        if isinstance(_command, click.Command) and not _name.startswith("_"):  # _: a group's own command
            rlu.add_command(_command)


def _open_standard_streams() -> None:
    """Open closed standard streams on the null device; otherwise the next file opened would take their place."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free: this one
        if getattr(sys, name) is None:  # as Python leaves it
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


class _terminable:
    """While inside, SIGTERM and SIGHUP (the terminal closes) do what Ctrl-C does: children and scratch folders go.

    A signal that is ignored stays so: `nohup` ignores SIGHUP.
    """

    def __enter__(self) -> None:
        def interrupt(number: int, frame: object) -> None:
            raise KeyboardInterrupt

        taken = [sign for sign in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(sign) is not signal.SIG_IGN]
        self._before = {sign: signal.signal(sign, interrupt) for sign in taken}

    def __exit__(self, *exception: object) -> None:
        for sign, before in self._before.items():
            signal.signal(sign, before)


#: The extra that brings a module; ``train`` brings those that are not here.
EXTRAS = {
    **dict.fromkeys(("joblib", "optuna", "pyarrow"), "search"),
    **dict.fromkeys(("google", "onnx", "onnxruntime", "qonnx"), "export"),
    **dict.fromkeys(("yaml", "zigzag"), "zigzag"),
    **dict.fromkeys(("constriction", "cryptography", "flwr", "psutil"), "fed"),
    **dict.fromkeys(("nextpnr", "serial", "amaranth_boards"), "fpga"),
    **dict.fromkeys(("litex", "migen", "pythondata_cpu_vexriscv", "pythondata_cpu_picorv32"), "soc"),
    "pyglove": "dev",
    "ray": "ray",
}


def main(arguments: list[str] | None = None) -> None:
    """Entry point: errors become one message and an exit code."""
    _open_standard_streams()
    try:
        with _terminable():
            rlu.main(arguments, prog_name="rlu", standalone_mode=False)
    except click.ClickException as error:
        with _message():
            error.show()
        sys.exit(BAD_USE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except CheckFailed:
        sys.exit(FAILED)
    except BrokenPipeError:
        sys.stderr.close()  # nothing more can be said to a closed pipe
        sys.exit(FAILED)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0], "train")
        _complain(
            f"{error.name} is not installed: pip install 'rlu-cosim[{extra}]' "
            f"(in a checkout: pip install -e '.[{extra}]')"
        )
    except OSError as error:
        _complain(_what_failed(error))
    except (ValueError, RuntimeError) as error:
        # Every rejection of ours is one of these, with a message meant for the user.
        _complain(str(error), FAILED if type(error).__name__ == "Disagreement" else BAD_USE)


def _what_failed(error: OSError) -> str:
    """The operating system's error, with what to do about it; an error of ours is left as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        # If no file is named, it was the output, or a file of the command's own.
        place = error.filename or "standard output, --out or the cache"
        return f"{place}: {error.strerror}: make room, or choose another -o or --out; RLU_CACHE_DIR moves the cache"
    if error.strerror is None or error.filename is None:
        return str(error)
    if error.errno == errno.ENOENT:
        return f"{error.filename}: no such file or folder: name one that exists"
    advice = "choose another path (-o, --out; RLU_CACHE_DIR for the cache), or change what is there"
    return f"{error.filename}: {error.strerror}: {advice}"


def _complain(message: str, code: int = BAD_USE) -> None:
    with _message():
        click.echo(f"rlu: {message}", err=True)
    sys.exit(code)


@contextlib.contextmanager
def _message() -> Iterator[None]:
    """Write to standard error inside; if it is full, the exit code must still be right."""
    try:
        yield
        sys.stderr.flush()
    except OSError:
        # Python writes what is left in its buffer when it ends, and would change the exit code if that failed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


if __name__ == "__main__":
    main()
