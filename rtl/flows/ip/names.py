"""Gives the texts and files of a package another prefix than ``rlu``, so that two units share a design."""

from __future__ import annotations

import re

from rtl.spec.names import DEFAULT

#: Files of a package by their endings; what else is called ``rlu`` is the command of this project, or an instance.
_FILES = r"\*?\.(?:v|vh|sv|h|c|hpp|svd|rdl|xml|html|json|vlt|core|sdc|lpf|gtkw|sh)\b"
#: ``rlu_x`` and ``rlu.h``, also in a path; not ``u_rlu``, and not the instance in ``u_rlu.rlu.core``.
_LOWER = re.compile(rf"(?<![\w.$\\]){DEFAULT}(?=_[A-Za-z0-9]|{_FILES})|(?<=addrmap ){DEFAULT}\b")
#: ``RLU_X``, and a peripheral's name in an XML file.
_UPPER = re.compile(rf"(?<![\w.$\\]){DEFAULT.upper()}(?=_[A-Za-z0-9])|(?<=<name>){DEFAULT.upper()}(?=</name>)")


def renamed(text: str, name: str) -> str:
    """A text or a path of a package, as it is written for the prefix ``rlu``, with another prefix.

    Lower-case names get the prefix as it is, upper-case ones (macros, constants of C) get it in upper case.
    """
    if name == DEFAULT:
        return text
    return _UPPER.sub(name.upper(), _LOWER.sub(name, text))
