"""Where the project lies, and the tests in its files."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def cases_in(path: str) -> list[str]:
    """Names of the test functions of a file, given from the project's folder."""
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    return [name for name, value in vars(module).items() if name.startswith("test") and inspect.isfunction(value)]
