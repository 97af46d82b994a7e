"""Settings: fields of frozen dataclasses that say what they mean, what they may be, and how to set them.

A configuration may have configurations as fields. Every setting in it, at any depth, has a unique name, which
command-line options, messages and reports use. The defaults, the limits and the help text are written at the field
and nowhere else.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

from algo.support.user_files import check_type, shown

Config = TypeVar("Config")

_SETTING = "setting"


@dataclass(frozen=True)
class Setting:
    """A field of a configuration, at any depth.

    Attributes:
        name: unique in the configuration.
        path: names of the fields that lead to it.
        hint: its type.
        default: its value if nothing is given.
        help: what it means, in a sentence; empty for a setting without a command-line option.
        flag: its command-line option.
        choices: the values it may have; empty if they are not a list.
        metavar: what the command line's help shows for its value.
        low, high: the smallest and the largest value that it may have; ``None`` values are not compared.
        above, below: limits that it may not have itself.
    """

    name: str
    path: tuple[str, ...]
    hint: Any
    default: Any
    help: str = ""
    flag: str = ""
    choices: tuple[Any, ...] = ()
    metavar: str = ""
    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    @property
    def label(self) -> str:
        """Its field for a message, with its option if that has another name."""
        field = self.path[-1]
        return field if not self.help or self.flag == _flag(field) else f"{field} ({self.flag})"

    def check(self, value: object) -> None:
        """Raise ValueError, which names the setting, unless it may have this value."""
        check_type(value, self.hint, self.label)
        if value is None:
            return
        if self.choices and value not in self.choices:
            raise ValueError(f"{self.label} must be one of {', '.join(map(str, self.choices))}, not {shown(value)}")
        if isinstance(value, int | float) and not isinstance(value, bool) and not self._allows(value):
            said = f"{value:g}" if isinstance(value, float) else shown(value)
            raise ValueError(f"{self.label} must be {self._limits}, not {said}")

    def _allows(self, value: float) -> bool:
        return self.low <= value <= self.high and self.above < value < self.below

    @property
    def _limits(self) -> str:
        if -math.inf < self.low and self.high < math.inf:
            return f"in {_limit(self.low)}..{_limit(self.high)}"
        words = {"at least": self.low, "above": self.above, "at most": self.high, "below": self.below}
        return " and ".join(f"{word} {_limit(limit)}" for word, limit in words.items() if math.isfinite(limit))


def _limit(value: float) -> str:
    """A limit for a message: whole numbers in full."""
    return str(int(value)) if value == int(value) else f"{value:g}"


def setting(default: Any, help: str = "", *, repr: bool = True, **more: Any) -> Any:
    """A field of a configuration: its default, its help text, and further attributes of `Setting`.

    ``repr=False`` leaves it out of the configuration's ``repr``.
    """
    return dataclasses.field(default=default, repr=repr, metadata={_SETTING: {"help": help, **more}})


def whole_numbers(text: str) -> tuple[int, ...]:
    """The numbers of a list such as ``2,4,8``, with or without spaces; raises ValueError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise ValueError(f"{shown(text)} is not a list of whole numbers such as 2,4,8")
    return tuple(map(int, parts))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def settings_of(config: type | object) -> Iterator[Setting]:
    """All settings of a configuration, or of its class, in the order of the fields."""
    yield from _walk(config if isinstance(config, type) else type(config), ())


def flat(config: object) -> dict[str, Any]:
    """The values of all settings by their own names."""
    return {one.name: _value(config, one.path) for one in settings_of(config)}


def from_flat(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """A configuration from values by the settings' own names; defaults for the rest.

    Raises:
        ValueError: for an unknown name, or a value that a setting may not have.
    """
    tree: dict[str, Any] = {}
    known = {one.name: one for one in settings_of(kind)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"unknown setting {name!r}: the settings are {', '.join(known)}")
        branch = tree
        for part in known[name].path[:-1]:
            branch = branch.setdefault(part, {})
        branch[known[name].path[-1]] = value
    made: Config = _built(kind, tree, "")
    return made


def changed(config: Config, **values: Any) -> Config:
    """The configuration with other values of some settings, by their own names."""
    return from_flat(type(config), flat(config) | values)


def from_json(kind: type[Config], content: Mapping[str, Any]) -> Config:
    """A configuration from what `to_json` gave, perhaps in an earlier version: a missing setting has its default.

    Raises:
        ValueError: for a field that this version does not know, or a value that a setting may not have.
    """
    made: Config = _built(kind, content, "")
    return made


def to_json(config: object) -> dict[str, Any]:
    """The configuration as nested objects that JSON can hold."""
    return dataclasses.asdict(config)  # type: ignore[call-overload, no-any-return]


def check_settings(config: object) -> None:
    """Raise ValueError, which names the setting, unless all settings have values that they may have."""
    for one in _walk(config, ()):
        one.check(one.default)


def _walk(defaults: Any, path: tuple[str, ...]) -> Iterator[Setting]:
    """Settings of a configuration, whose values are the defaults; or of its class, without making an object."""
    whole = isinstance(defaults, type)
    hints = _hints(defaults if whole else type(defaults))
    for field in dataclasses.fields(defaults):
        hint, here = hints[field.name], (*path, field.name)
        default = field.default if whole else getattr(defaults, field.name)
        if dataclasses.is_dataclass(default):
            yield from _walk(default, here)
            continue
        more = dict(field.metadata.get(_SETTING, {}))
        name = more.pop("name", field.name)
        more["flag"] = more.get("flag") or _flag(name)
        yield Setting(name, here, hint, default, **more)


_known_hints: dict[type, dict[str, Any]] = {}


def _hints(kind: type) -> dict[str, Any]:
    if kind not in _known_hints:
        _known_hints[kind] = get_type_hints(kind)
    return _known_hints[kind]


def _value(config: object, path: tuple[str, ...]) -> Any:
    for part in path:
        config = getattr(config, part)
    return config


def _built(defaults: Any, tree: Mapping[str, Any], where: str) -> Any:
    """A configuration from values by field; the rest as in another configuration, or as its class says."""
    if not isinstance(tree, Mapping):
        raise ValueError(f"{where.rstrip('.') or 'the configuration'} must be an object, not {shown(tree)}")
    whole = isinstance(defaults, type)
    fields = {
        field.name: field.default if whole else getattr(defaults, field.name) for field in dataclasses.fields(defaults)
    }
    values = {}
    for name, value in tree.items():
        if name not in fields:
            raise ValueError(f"this version does not know the field {where}{name}")
        nested = dataclasses.is_dataclass(fields[name])
        values[name] = _built(fields[name], value, f"{where}{name}.") if nested else value
    return defaults(**values) if whole else dataclasses.replace(defaults, **values)
