"""Plants a bug of the catalogue: makes modules from the changed source, in memory, and leaves nothing behind."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from tb.bugs.catalogue import PlantedBug

_ROOT = Path(__file__).resolve().parents[2]
_OURS = ("rtl", "sim", "tb", "algo")


class Unplantable(Exception):
    """The text that a bug replaces is not in its module exactly once; the message says what to correct."""


def broken_source(bug: PlantedBug) -> str:
    """The module's source with the bug in it.

    Raises:
        Unplantable: if the text to replace is not there exactly once.
    """
    source = (_ROOT / bug.place).read_text(encoding="utf-8")
    if source.count(bug.old) != 1:
        raise Unplantable(
            f'"{bug.name}" cannot be planted: {bug.place} must contain this text once, not '
            f"{source.count(bug.old)} times; mend tb/bugs/catalogue.py:\n{bug.old}"
        )
    return source.replace(bug.old, bug.new)


@contextmanager
def planted(bug: PlantedBug) -> Iterator[Callable[[str], ModuleType]]:
    """In this context our modules are imported again, with the bug; at the end the old ones are restored.

    Yields a function that imports a module by its full name. Modules imported earlier do not change: use only that
    function to get the broken hardware and all classes to compare with.

    Raises:
        Unplantable: if the text to replace is not in the module exactly once.
    """
    finder = _Finder(bug.module, _ROOT / bug.place, broken_source(bug))
    before = _taken_out()
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module
    finally:
        sys.meta_path.remove(finder)
        _taken_out()
        sys.modules.update(before)


def _taken_out() -> dict[str, ModuleType]:
    """Remove our modules from ``sys.modules``, and return them."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in _OURS}


class _Finder(MetaPathFinder):
    """Finds one module, with a source other than its file's."""

    def __init__(self, module: str, path: Path, source: str) -> None:
        self._module, self._path, self._source = module, path, source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        loader = _Loader(fullname, str(self._path))
        loader.source = self._source
        return spec_from_file_location(fullname, self._path, loader=loader)


class _Loader(SourceFileLoader):
    """Compiles the given source; neither reads nor writes a compiled file."""

    source = ""

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec", dont_inherit=True)
