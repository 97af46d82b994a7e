"""Files that a user brings or may have changed: any problem becomes one sentence that names the file.

All readers of such files go through `reading`; JSON, TOML and YAML also through `read_values`, which gives plain
values only, and `check_type` or `check_object`, which compare them with type hints.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SAID = 300  # characters of a library's message

#: The largest figure of a chip that is accepted: products of a few stay far from the limit of double precision.
LARGEST_FIGURE = 1e12


@contextmanager
def reading(
    path: Path, problem: str = "{} cannot be used", advice: str = "", raises: type[ValueError] = ValueError
) -> Iterator[None]:
    """While a file is read: whatever goes wrong becomes one error that names the file.

    Readers of damaged files raise nearly anything, from RecursionError to MemoryError. Some errors are passed on
    unchanged: one of the operating system that names a file, a missing package, and a ``raises`` that already names it.

    Args:
        path: the file.
        problem: what is wrong, with {} for its name.
        advice: the next step.
        raises: class of the error.
    """
    try:
        yield
    except ModuleNotFoundError:
        raise
    except Exception as error:
        named = isinstance(error, ValueError) and str(path) in str(error)
        if named and isinstance(error, raises):
            raise
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            raise
        said = str(error) if named else f"{problem.format(path)}: {_reason(error)}"
        raise raises(f"{said}; {advice}" if advice else said) from error


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())[:_SAID]
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeError):
        return f"it is not text in UTF-8 ({said}): save it as UTF-8"
    if isinstance(error, KeyError):
        return f"it has no {said}"
    return said if isinstance(error, ValueError) and said else f"{type(error).__name__}: {said}".removesuffix(": ")


def read_text(path: Path) -> str:
    """A text in UTF-8, with or without a byte order mark; raises as `reading` says."""
    with reading(path, "cannot read {}"):
        return path.read_text(encoding="utf-8-sig")


def read_values(path: Path) -> Any:
    """What a JSON, TOML or YAML file holds, by its suffix (JSON without one of these).

    Returns:
        Text, numbers, true and false, lists, and mappings with text for keys; no dates.

    Raises:
        ValueError: naming the file, if it is not in its format, names a key twice, or holds other values.
    """
    kind = {".toml": "TOML", ".yaml": "YAML", ".yml": "YAML"}.get(path.suffix.lower(), "JSON")
    text = read_text(path)
    with reading(path, f"{{}} is not valid {kind}"):
        return {"JSON": parse_json, "TOML": _parse_toml, "YAML": _parse_yaml}[kind](text)


def parse_json(text: str | bytes) -> Any:
    """Values of a text in JSON, with or without a byte order mark; ValueError for damage and a key named twice."""
    decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text.removeprefix("\ufeff")
    try:
        content = json.loads(decoded, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if "\\u" in decoded:
        _plain(content)  # escapes can form half a character, which no file can hold
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return made


def _parse_toml(text: str) -> Any:
    return _plain(tomllib.loads(text))


def _parse_yaml(text: str) -> Any:
    return _plain(_yaml_loader()(text).get_single_data())


@cache
def _yaml_loader() -> Any:
    """PyYAML's safe loader, which refuses what YAML 1.1 reads differently from people."""
    import yaml  # type: ignore[import-untyped]

    class Loader(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} occurs twice", key.start_mark
                    )
                seen.add((key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key))
            return node

        def number(self, node: Any) -> float:
            if re.match(r"[-+]?0[0-9_]", node.value) and node.tag.endswith("int"):
                said = f"{node.value} is an octal number in YAML: write it in decimal, without the leading 0"
                raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
            if ":" in node.value:
                said = f"{node.value} is a number to base 60 in YAML: write it in decimal, or as text in quotes"
                raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
            make = self.construct_yaml_int if node.tag.endswith("int") else self.construct_yaml_float
            return float(made) if isinstance(made := make(node), float) else int(made)

    for kind in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", Loader.number)
    # YAML 1.1 takes 1e-3 for text, because it lacks the point; JSON, TOML and YAML 1.2 take it for a number.
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )
    return Loader


def _plain(content: Any) -> Any:
    """The content, if JSON could hold it; else ValueError."""

    def refuse(value: object) -> None:
        raise ValueError(
            f"{shown(value)} is a {type(value).__name__}: values are text, numbers, true, false, lists and mappings; "
            "put text in quotes"
        )

    json.dumps(content, default=refuse, ensure_ascii=False).encode()
    _check_keys(content)
    return content


def _check_keys(content: Any) -> None:
    for key in content if isinstance(content, dict) else ():
        if not isinstance(key, str):
            raise ValueError(f"key {shown(key)} is not text: put it in quotes")
    for value in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        _check_keys(value)


def shown(value: object) -> str:
    """A value for a message, shortened."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # an integer with more digits than Python writes
        return "a number of thousands of digits"


def finite(value: object) -> bool:
    """Whether it is a number that double precision can hold; true and false are not."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer
        return False


def check_type(value: object, hint: Any, what: str) -> None:
    """Raise ValueError, which says what it must be, unless a value from JSON has a type.

    Args:
        value: what was read.
        hint: int, float (finite; an int will do), bool, str, None, Any, Literal, unions, and lists, tuples and dicts.
        what: the value's name in a message.
    """
    if not _fits(value, hint):
        raise ValueError(f"{what} must be {_in_words(hint)}, not {shown(value)}")


def check_object(
    value: object, hints: Mapping[str, Any], what: str, optional: Collection[str] = ()
) -> Mapping[str, Any]:
    """An object of JSON that has these keys, each of its type; it may have others. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be an object, not {shown(value)}")
    for key, hint in hints.items():
        if key in value:
            check_type(value[key], hint, f"{key} of {what}")
        elif key not in optional:
            raise ValueError(f"{what} has no {key}")
    return value


def _fits(value: object, hint: Any) -> bool:
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if kind is Literal:
        return isinstance(value, str) and value in inner
    if kind is tuple and inner[-1] is not Ellipsis:
        return isinstance(value, list | tuple) and len(value) == len(inner) and all(map(_fits, value, inner))
    if kind in (list, tuple):
        return isinstance(value, list | tuple) and all(_fits(item, inner[0]) for item in value)
    if kind is dict:
        return isinstance(value, dict) and all(_fits(item, inner[1]) for item in value.values())
    if hint is float:
        return finite(value)
    if hint is int:
        return type(value) is int
    return hint is Any or isinstance(value, NoneType if hint is None else hint)


def _in_words(hint: Any) -> str:
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return " or ".join(map(_in_words, inner))
    if kind is Literal:
        return f"one of {', '.join(inner)}"
    if kind is tuple and inner[-1] is not Ellipsis:
        return f"a list of {len(inner)} items"
    if kind in (list, tuple):
        return "a list" if inner[0] is Any else f"a list, each item {_in_words(inner[0])}"
    if kind is dict:
        return "an object"
    words = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text", NoneType: "null"}
    return words[hint]
