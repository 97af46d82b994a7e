"""The graph of a network, from which batch normalisation is folded and an exported file is written."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from algo.quantisation import is_layer


class _Tracer(fx.Tracer):
    """Follows a forward function down to PyTorch's layers and our quantised ones; remembers where it got stuck."""

    stuck: str | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_layer(m) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if self.stuck is None:  # the innermost is the first to know
                self.stuck = f"layer {self.path_of_module(m)!r} ({type(m).__name__})"
            raise


def trace(model: nn.Module, images: Tensor) -> fx.GraphModule:
    """The operations of a model in order, with the shape of what each makes (``node.meta["tensor_meta"]``).

    Shares the model's layers. What is computed and not used is left out.

    Args:
        model: any module whose forward function takes images alone; its mode is put back.
        images: (N, ...), a few that the model takes, on its device.

    Raises:
        ValueError: if the forward function decides by the values or shapes of its tensors, which a tracer cannot
            follow; it names the layer.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:  # whatever a forward function does to a stand-in for a tensor
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"the tracer cannot follow {tracer.stuck or f'{type(model).__name__}.forward'} ({said}): its forward "
            "function must not depend on the values or shapes of its tensors; move such code into a function marked "
            "@torch.fx.wrap, or leave folding and export out"
        ) from None
    traced = fx.GraphModule(model, graph)
    graph.eliminate_dead_code()
    traced.recompile()
    mode = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            ShapeProp(traced).propagate(images)
    finally:
        for module, training in mode.items():
            module.training = training
    return traced


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Shape of what a node of a traced graph makes, batch first."""
    return tuple(node.meta["tensor_meta"].shape)


def called(traced: fx.GraphModule, node: object) -> nn.Module | None:
    """The layer that a node calls; ``None`` for any other node, and for what is none."""
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    return traced.get_submodule(str(node.target))
