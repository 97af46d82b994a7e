"""The command `rlu`, run in this process."""

from __future__ import annotations

import pytest

from algo.cli import main


def rlu(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str, str]:
    """Exit code, standard output and standard error of a command."""
    code: object = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        code = stopped.code
    said = capsys.readouterr()
    return code, said.out, said.err
