"""The graph of a network; folding of batch normalisation and export work on it."""

from __future__ import annotations

import inspect
import keyword
import operator
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from algo.nets.quantisation import Rounding, is_layer


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A model in evaluation mode and without gradients; afterwards every layer is back in its own mode."""
    mode = {module: module.training for module in model.modules()}
    try:
        model.eval()
        # Tensors made in inference mode do not count their changes.
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for module, training in mode.items():
            module.training = training


class _Proxy(fx.Proxy):
    """Stands in for a tensor; PyTorch's own takes ``k += 1`` for ``k = k + 1``, and no ``k[0] = 1``."""

    def __setitem__(self, where: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, where, value), {})


def _in_place(name: str) -> Any:
    function = getattr(operator, name)
    return lambda self, other: self.tracer.create_proxy("call_function", function, (self, other), {})


for _name in ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor"):
    setattr(_Proxy, f"__i{_name}__", _in_place(f"i{_name}"))


class _Tracer(fx.Tracer):
    """Follows a forward function down to PyTorch's layers and our quantised ones; remembers where it got stuck."""

    stuck: str | None = None

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_layer(m) or isinstance(m, Rounding) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if self.stuck is None:  # the innermost is the first to know
                self.stuck = f"layer {self.path_of_module(m)!r} ({type(m).__name__})"
            raise


@dataclass(frozen=True)
class _Change:
    """A node that changes tensors in place.

    Attributes:
        node: which changes them.
        memory: theirs.
        sharers: earlier nodes whose values lie in that memory; true if the value is, element for element, the
            very tensor that ``node`` gives.
    """

    node: fx.Node
    memory: set[int]
    sharers: list[tuple[fx.Node, bool]]


class _Run(fx.Interpreter):
    """Computes a graph in PyTorch; notes the shape that each node makes and what it changes in place."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced, garbage_collect_values=False)  # memory used again would look like shared memory
        self.changes: list[_Change] = []
        self._tensors: list[tuple[fx.Node, Tensor]] = []

    def run_node(self, n: fx.Node) -> Any:
        before = [_version(tensor) for _, tensor in self._tensors]
        result = super().run_node(n)
        pairs = zip(self._tensors, before, strict=True)
        changed = {_memory(tensor) for (_, tensor), version in pairs if _version(tensor) != version}
        if changed:
            sharing = [(node, tensor) for node, tensor in self._tensors if _memory(tensor) in changed]
            # A node with a shape makes one tensor, not a nest of them.
            sharers = [(node, "tensor" in node.meta and _same(tensor, result)) for node, tensor in sharing]
            self.changes.append(_Change(n, changed, sharers))
        if isinstance(result, Tensor):
            n.meta["tensor"] = torch.empty_like(result, device="meta")
        self._tensors += [(n, tensor) for tensor in tensors_in(result)]
        return result


class _OutOfPlace(fx.Interpreter):
    """Computes a graph as if no operation changed anything in place."""

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> Any:
        return map_aggregate(
            super().fetch_args_kwargs_from_env(n), lambda value: value.clone() if isinstance(value, Tensor) else value
        )


def _version(tensor: Tensor) -> int:
    """How often a tensor, or a view of the same memory, was changed in place."""
    return -1 if tensor.is_inference() else tensor._version


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _same(one: Tensor, other: object) -> bool:
    """Whether two tensors are the same elements of the same memory."""
    return (
        isinstance(other, Tensor)
        and _memory(one) == _memory(other)
        and (one.dtype, one.shape, one.stride(), one.storage_offset())
        == (other.dtype, other.shape, other.stride(), other.storage_offset())
    )


def tensors_in(value: object) -> list[Tensor]:
    """The tensors in the output of a network or a layer: one, or a nest of tuples, lists and dictionaries."""
    found: list[Tensor] = []

    def visit(part: Any) -> None:
        if isinstance(part, Tensor):
            found.append(part)

    map_aggregate(value, visit)  # type: ignore[type-var]
    return found


def trace(model: nn.Module, images: Tensor) -> fx.GraphModule:
    """The operations of a model in evaluation mode, in order, with the shape of what each makes (`shape_of`).

    It shares the model's layers. Nothing is left out, because an operation whose result is never used may change
    another result in place. So only the users of a node see or change what it makes.

    Args:
        model: any module whose forward function takes images alone; its mode is put back.
        images: (N, ...), a few that the model takes, on its device.

    Raises:
        ValueError: if the forward function decides by the values or shapes of its tensors, which a tracer cannot
            follow; it names the layer.
    """
    return _traced(model, images)[0]


def functional_trace(model: nn.Module, images: Tensor) -> fx.GraphModule:
    """The same operations as if none changed a tensor in place: users of a changed tensor use the result of the change.

    Unused results are left out. `run_functional` computes it.

    Args:
        model, images: as for `trace`.

    Raises:
        ValueError: as `trace`; and naming both, if an operation changes what a later one sees in another shape or
            in part; or if the forward function changes parameters or buffers of the model.
    """
    before = {name: (tensor, _version(tensor)) for name, tensor in _state(model).items()}
    traced, changes = _traced(model, images)
    state = _state(model)
    own = {_memory(tensor): name for name, tensor in state.items()}
    lasting = [n for n, (tensor, v) in before.items() if state.get(n) is not tensor or _version(tensor) != v]
    lasting += [own[memory] for change in changes for memory in change.memory if memory in own]
    lasting += [str(node.target) for change in changes for node, _ in change.sharers if node.op == "get_attr"]
    if lasting:
        raise ValueError(
            f"the forward function of {type(model).__name__} changes its own {lasting[0]!r}: what it computes depends "
            "on what it computed before, and a file has no memory"
        )
    order = {node: number for number, node in enumerate(traced.graph.nodes)}
    for change in changes:
        for node, same in change.sharers:
            for user in [user for user in node.users if order[user] > order[change.node]]:
                if not same:
                    raise ValueError(
                        f"{described(traced, change.node)} changes in place what {described(traced, node)} made, and "
                        f"{described(traced, user)} uses it afterwards in another shape or in part: let the former "
                        "make a new tensor"
                    )
                user.replace_input_with(node, change.node)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def run_functional(traced: fx.GraphModule, images: Tensor) -> Any:
    """What a graph of `functional_trace` computes of images (N, ...), which stay as they are."""
    return _OutOfPlace(traced).run(images)


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _traced(model: nn.Module, images: Tensor) -> tuple[fx.GraphModule, list[_Change]]:
    for name, _ in model.named_modules():
        _check_name(name)
    tracer = _Tracer()
    with evaluating(model):
        attributes = {module: dict(vars(module)) for module in model.modules()}
        try:
            others = list(inspect.signature(model.forward).parameters.values())[1:]
            defaults = {other.name: other.default for other in others if other.default is not other.empty}
            graph = tracer.trace(model, concrete_args=defaults)
        except Exception as error:  # whatever a forward function does to a stand-in for a tensor
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"the tracer cannot follow {tracer.stuck or f'{type(model).__name__}.forward'} ({said}): its forward "
                "function must not depend on the values or shapes of its tensors; move such code into a function "
                "marked @torch.fx.wrap, or leave folding and export out"
            ) from None
        finally:
            for module, before in attributes.items():  # what forward functions stored were stand-ins
                vars(module).update(before)
        traced = fx.GraphModule(model, graph)
        for module, before in attributes.items():  # constants that the tracer left
            for name in vars(module).keys() - before.keys():
                del vars(module)[name]
        run = _Run(traced)
        run.run(images.clone())  # the network may change its images
    return traced, run.changes


def _check_name(name: str) -> None:
    """Raise ValueError for a layer's name that a graph cannot have, because the graph becomes Python code with it."""
    own = name.partition(".")[0]
    odd = any(keyword.iskeyword(part) or re.search(r"[\"'\\\n]", part) for part in name.split("."))
    if odd or hasattr(fx.GraphModule, own) != hasattr(nn.Module, own) or own in ("meta", "_graph", "_code"):
        raise ValueError(f"the tracer cannot follow a network with a layer of the name {name!r}: give it another name")


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Shape of what a node of a traced graph makes, batch first."""
    return tuple(node.meta["tensor"].shape)


def called(traced: fx.GraphModule, node: object) -> nn.Module | None:
    """The layer that a node calls; ``None`` for any other node, and for other values."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    return traced.get_submodule(str(node.target))


def described(traced: fx.GraphModule, node: fx.Node) -> str:
    """A node as messages name it."""
    layer = called(traced, node)
    return f"layer {str(node.target)!r} ({type(layer).__name__})" if layer else f"the operation {node.name!r}"
