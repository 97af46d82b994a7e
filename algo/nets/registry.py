"""Networks by name or file: `network_builder` is the one place where a word becomes a network.

This module does not import torch, so help texts and configurations can name networks.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import TYPE_CHECKING, Any

from algo.nets import models

if TYPE_CHECKING:
    from torch import nn

#: Channels of the first convolution of a network with a name, unless another width is given.
DEFAULT_WIDTH = 8
#: A user's file is loaded as a module of this name and a digest of the file's content.
_PRIVATE = "_rlu_network_"
_CONTRACT = "a function that takes classes, channels and image_size, as far as it names them, and returns an nn.Module"


def _named() -> tuple[str, ...]:
    found = [module.name for module in pkgutil.iter_modules(models.__path__) if not module.name.startswith("_")]
    return tuple(sorted(found, key=lambda name: (name != "vgg8", name)))  # the default first


#: Networks with a name: the modules of `algo.nets.models`. Any other is a file.
NETWORKS: tuple[str, ...] = _named()
#: What may be given where a network is asked for, for help texts.
METAVAR = "|".join([*NETWORKS, "FILE.py:FUNCTION"])


@dataclass(frozen=True, eq=False)
class NetworkBuilder:
    """Makes networks of one kind for given data; called with their number of classes and the shape of an image.

    Attributes:
        name: as it was asked for.
        title: for reports, such as ``VGG8`` or ``net.py:make``.
        takes_width: whether a width can be chosen.
        digest: SHA-256 of the user's file, in hexadecimal; ``None`` for a network with a name.
    """

    name: str
    takes_width: bool
    digest: str | None
    _make: Callable[..., nn.Module]
    _title: str = ""

    @property
    def title(self) -> str:
        """See above."""
        return self._title or str(_module(self.name).NETWORK.__name__)

    def __call__(self, classes: int, channels: int, image_size: tuple[int, int], width: int | None = None) -> nn.Module:
        """A new network, float32, with first weights from torch's random numbers.

        Args:
            classes: number of classes, at least 2.
            channels: channels of an image, at least 1.
            image_size: height and width of an image in pixels.
            width: size of the network, of those with a name the channels of the first convolution; ``None`` for
                `DEFAULT_WIDTH`, or for what a user's function takes by itself.

        Raises:
            ValueError: if the network cannot be made, or does not suit images or classes; in one sentence.
        """
        sizes: dict[str, Any] = {"classes": classes, "channels": channels, "image_size": image_size}
        if width is not None:
            if not self.takes_width:
                raise ValueError(f"{self.title} takes no width: leave it out, or give the function an argument width")
            sizes["width"] = width
        return self._make(**sizes)


def network_builder(name: str) -> NetworkBuilder:
    """The builder of a network with a name, or of the one that a user's function returns.

    Args:
        name: one of `NETWORKS`, or ``FILE.py:FUNCTION``: the function, or class, is called with the keyword arguments
            ``classes``, ``channels``, ``image_size`` and ``width`` as far as its signature has them, the last only if a
            width is chosen, and must return a new `torch.nn.Module` each time. The file is run.

    Raises:
        ValueError: for an unknown name, a file that is missing or cannot be loaded, or a function that is not in it
            (the message lists those that are) or needs other arguments.
    """
    if name in NETWORKS:
        return NetworkBuilder(name, True, None, _maker(name))
    file, function = split_file_network(name)
    return _UserFile(Path(file)).builder(name, function)


def split_file_network(name: str) -> tuple[str, str]:
    """File and function of ``FILE.py:FUNCTION``, the latter empty if it is missing; ValueError for anything else."""
    file, _, function = name.rpartition(":")
    if name.endswith(".py"):
        file, function = name, ""
    if not file.endswith(".py"):
        raise ValueError(
            f"unknown network {name!r}: choose {', '.join(NETWORKS)}, or FILE.py:FUNCTION for one of your own, "
            f"{_CONTRACT}"
        )
    return file, function


def is_file_network(name: str) -> bool:
    """Whether a name is that of a user's file, which `network_builder` would run."""
    try:
        return bool(split_file_network(name)) and name not in NETWORKS
    except ValueError:
        return False


@contextmanager
def naming_users_line() -> Iterator[None]:
    """Say in which line of a user's file an error comes from; others are left as they are. Also a decorator.

    Raises:
        ValueError: in place of an error that a user's network raises.
    """
    try:
        yield
    except Exception as error:
        frames = [(frame.f_globals.get("__name__", ""), frame, line) for frame, line in walk_tb(error.__traceback__)]
        users = [(frame.f_code, line) for name, frame, line in frames if str(name).startswith(_PRIVATE)]
        if not users:
            raise
        code, line = users[-1]
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".removesuffix(": ")
        raise ValueError(
            f"your network failed in {code.co_name} ({Path(code.co_filename).name}, line {line}): {words}"
        ) from error


def source_of(model: nn.Module) -> list[str]:
    """Names of the private modules that the classes of a model come from; a name contains its file's digest."""
    return sorted({m for layer in model.modules() if (m := type(layer).__module__).startswith(_PRIVATE)})


def published_width(name: str) -> int:
    """Channels of the first convolution of a network with a name, in its usual size."""
    width: int = _module(name).PUBLISHED_WIDTH
    return width


def _module(name: str) -> Any:
    return importlib.import_module(f"{models.__name__}.{name}")


def _maker(name: str) -> Callable[..., nn.Module]:
    def make(width: int = DEFAULT_WIDTH, **sizes: Any) -> nn.Module:
        made: nn.Module = _module(name).NETWORK(width=width, **sizes)
        return made

    return make


class _UserFile:
    """A user's file, loaded as a module."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "is not there"
            raise ValueError(f"{path} {what}: a network of your own is FILE.py:FUNCTION, {_CONTRACT}")
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self._module = self._load()

    def _load(self) -> ModuleType:
        """Run the file under a name of ours: it hides no other module, and its classes show where they come from."""
        folder = str(self.path.absolute().parent)
        if folder not in sys.path:
            sys.path.append(folder)  # for helpers beside the file; last, so they hide no other module either
        name = f"{_PRIVATE}{self.digest[:16]}"
        spec = importlib.util.spec_from_file_location(name, self.path.absolute())
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look for their module there
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise ValueError(f"{self.path} cannot be loaded: {self._said(error)}") from error
        return module

    def builder(self, name: str, function: str) -> NetworkBuilder:
        """The builder that calls one of the file's functions."""
        title = f"{self.path.name}:{function}"
        if not function or not hasattr(self._module, function):
            there = ", ".join(self._functions()) or "none"
            what = f"{self.path} has no function {function!r}" if function else f"{name} names no function"
            raise ValueError(f"{what}: say {self.path}:FUNCTION; functions and networks in it: {there}")
        make = getattr(self._module, function)
        if not callable(make) or _is_module(make):
            raise ValueError(
                f"{function} of {self.path} is a {type(make).__name__}, not a function: write one that returns a new "
                "network each time"
            )
        accepted = self._accepted(title, make)
        given: weakref.WeakSet[Any] = weakref.WeakSet()

        def called(**sizes: Any) -> nn.Module:
            passed = {key: value for key, value in sizes.items() if key in accepted}
            try:
                model = make(**passed)
            except (Exception, SystemExit) as error:
                said = ", ".join(f"{key}={value!r}" for key, value in passed.items())
                raise ValueError(f"{title}, called with {said or 'nothing'}, failed: {self._said(error)}") from error
            if not _is_module(model):
                missing = ": is its last line return model?" if model is None else ""
                raise ValueError(f"{title} returned a {type(model).__name__}, not an nn.Module{missing}")
            if model in given:
                raise ValueError(f"{title} returned the same network twice: make a new one in every call")
            given.add(model)
            self._check(title, model, accepted, **{key: sizes[key] for key in ("classes", "channels", "image_size")})
            return model  # type: ignore[no-any-return]

        return NetworkBuilder(name, "width" in accepted, self.digest, called, title)

    def _functions(self) -> list[str]:
        """Names that could be meant: public functions and modules that the file itself defines."""
        found = [
            name
            for name, value in vars(self._module).items()
            if getattr(value, "__module__", None) == self._module.__name__
            and (inspect.isfunction(value) or (inspect.isclass(value) and _is_module_class(value)))
        ]
        return [name for name in found if not name.startswith("_")]

    def _accepted(self, title: str, make: Callable[..., Any]) -> set[str]:
        """Which of the sizes a function takes by name; ValueError if it needs anything else."""
        known = ("classes", "channels", "image_size", "width")
        try:
            parameters = inspect.signature(make).parameters.values()
        except (TypeError, ValueError):  # a function that is not written in Python
            return set()
        by_name = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        for parameter in parameters:
            open_ended = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if open_ended or parameter.default is not parameter.empty:
                continue
            if parameter.name not in by_name or parameter.name not in known[:3]:
                raise ValueError(
                    f"{title} needs an argument {parameter.name!r}: only classes, channels and image_size are given, "
                    "by name; give any other a default value"
                )
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return set(known)
        return by_name & set(known)

    def _check(
        self,
        title: str,
        model: nn.Module,
        accepted: set[str],
        *,
        classes: int,
        channels: int,
        image_size: tuple[int, int],
    ) -> None:
        """Run two images of zeros through a network in evaluation mode; ValueError unless it gives logits."""
        import torch

        from algo.nets.quantisation import weight_layers
        from algo.nets.tracing import evaluating

        shape = (channels, *image_size)
        device = next((value.device for value in model.parameters()), torch.device("cpu"))
        try:
            # Random numbers that it draws here must not change the weights of the next network.
            with evaluating(model), torch.random.fork_rng(devices=()):
                logits = model(torch.zeros((2, *shape), device=device))
        except Exception as error:
            missing = [name for name in ("channels", "image_size") if name not in accepted]
            advice = f"; the function gets them if it takes {' and '.join(missing)}" if missing else ""
            raise ValueError(
                f"the network of {title} does not take images of {channels} channels and "
                f"{image_size[0]}x{image_size[1]} pixels: {self._said(error)}{advice}"
            ) from error
        if not isinstance(logits, torch.Tensor):
            raise ValueError(f"the network of {title} gives a {type(logits).__name__}, not logits (N, classes)")
        if tuple(logits.shape) != (2, classes):
            advice = "" if "classes" in accepted else "; its function gets their number if it takes classes"
            raise ValueError(
                f"the network of {title} gives an output of shape {tuple(logits.shape)} for 2 images, but the data "
                f"have {classes} classes: it must be (2, {classes}){advice}"
            )
        try:
            found = weight_layers(model)
        except ValueError as error:
            raise ValueError(f"the network of {title}: {error}") from None
        if not found:
            raise ValueError(f"the network of {title} has no Conv2d or Linear layer whose bit-width could be tuned")

    def _said(self, error: BaseException) -> str:
        """An error in one sentence, with the line of the user's file that it comes from."""
        words = " ".join(str(error).split())[:300]
        if isinstance(error, SyntaxError) and error.filename == str(self.path.absolute()):
            return f"{type(error).__name__}: {error.msg} ({self.path.name}, line {error.lineno})"
        lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(self.path.absolute())]
        where = f" ({self.path.name}, line {lines[-1].lineno})" if lines else ""
        return f"{type(error).__name__}: {words}".removesuffix(": ") + where


def _is_module(value: object) -> bool:
    from torch import nn

    return isinstance(value, nn.Module)


def _is_module_class(value: type) -> bool:
    from torch import nn

    return issubclass(value, nn.Module)
