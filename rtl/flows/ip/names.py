"""Gives the texts and files of a package another prefix than ``rlu``, so that two units share a design."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from rtl.spec.names import DEFAULT

#: The list of a package's files, in its folder.
MANIFEST = "manifest.json"

#: Files of a package by their endings; what else is called ``rlu`` is the command of this project, or an instance.
_FILES = r"\*?\.(?:v|vh|sv|h|c|hpp|svd|rdl|xml|html|json|vlt|core|sdc|lpf|gtkw|sh)\b"
#: ``rlu_x`` and ``rlu.h``, also in a path; not ``u_rlu``, and not the instance in ``u_rlu.rlu.core``.
_LOWER = re.compile(rf"(?<![\w.$\\]){DEFAULT}(?=_[A-Za-z0-9]|{_FILES})|(?<=addrmap ){DEFAULT}\b")
#: ``RLU_X``, and what is shown as the name of all registers.
_UPPER = re.compile(
    rf"(?<![\w$\\]){DEFAULT.upper()}(?=_[A-Za-z0-9])|(?<=name>){DEFAULT.upper()}(?=</)"
    rf'|(?<= name = "){DEFAULT.upper()}(?=")'
)


def renamed(text: str, name: str) -> str:
    """A text or a path of a package, as it is written for the prefix ``rlu``, with another prefix.

    Lower-case names get the prefix as it is, upper-case ones (macros, constants of C) get it in upper case.
    """
    if name == DEFAULT:
        return text
    return _UPPER.sub(name.upper(), _LOWER.sub(name, text))


def check_apart(name: str, paths: Iterable[str], texts: Mapping[str, str]) -> None:
    """Refuse a prefix that is a name which the package needs for something else.

    Args:
        name: the prefix.
        paths: of all files of the package, each as often as it would be written; some file systems know no case.
        texts: the files by their paths.

    Raises:
        ValueError: if two files would have one path, or two modules one name.
    """
    modules = [
        module
        for path, text in texts.items()
        if path.endswith((".v", ".sv"))
        for module in re.findall(r"^module\s+(\\\S+|\w+)", text, re.MULTILINE)
    ]
    for kind, found in (("file", [path.casefold() for path in (MANIFEST, *paths)]), ("module", modules)):
        if twice := sorted({one for one in found if found.count(one) > 1}):
            raise ValueError(f"the name {name!r} gives the package a second {kind} {twice[0]}: take another one")
