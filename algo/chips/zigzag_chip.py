"""A chip evaluated by ZigZag, a first-principles model of accelerators, from a description of its hardware.

L. Mei et al., *ZigZag: Enlarging Joint Architecture-Mapping Design Space Exploration for DNN Accelerators*, IEEE
Transactions on Computers, 2021. Its results for a layer and bit-widths are kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import resources
from typing import Any

from algo.chips.chip import LayerChip, Measurement
from algo.chips.description import COMMON, Description
from algo.chips.zigzag_run import Refused, evaluate, zigzag_version
from algo.space.layers import Geometry, LayerShape
from algo.support.user_files import check_type
from sim.files import cache_dir, write_atomically

#: The description that ships with the project.
SHIPPED = resources.files("algo.chips") / "zigzag-16x16.yaml"
LOOPS = ("OX", "OY", "FX", "FY", "C", "K", "G")  # of a layer, named as ZigZag does
_CACHE_FORMAT = 1


class ZigzagChip(LayerChip):
    """Cycles and energies from ZigZag, at the operating points of a hardware description.

    Args:
        description: the hardware; docs/use/chips.md has the keys.
        layers: of the network, with their geometry.

    Raises:
        ValueError: for a description that cannot be used, or a layer without geometry.
    """

    def __init__(self, description: Description, layers: Sequence[LayerShape]) -> None:
        description.check_keys(
            ("model", "operating_points", "reference_voltage_v", "spatial_mapping", "memories", "operational_array"),
            (*COMMON, "fixed_supply", "bit_scalable", "accumulator_bits", "loop_orders"),
        )
        super().__init__(
            [layer.name for layer in layers],
            description.operating_points(),
            description.bit_widths(),
            description.layer_bit_widths(),
        )
        self.name = description.text("name", "zigzag")
        said = description.text("origin", f"the description {description.where}")
        self.origin = f"ZigZag {zigzag_version()} on {said}"
        self._hardware = _Hardware(description)
        scaled = "bit-scalable multipliers" if self._hardware.bit_scalable else "multipliers of fixed width"
        self.notes = (
            f"{scaled}; dynamic energy only, proportional to V^2 but for memories of fixed supply "
            f"({', '.join(self._hardware.fixed) or 'none'}); bandwidths are in bits per core cycle",
        )
        self.layers = tuple(layers)
        for layer in layers:
            if layer.geometry is None:
                raise ValueError(f"layer {layer.name} cannot be given to ZigZag: its loops are not known (Geometry)")
        self._found: dict[tuple[Geometry, int, int], dict[str, Any]] = {}

    def measure_layer(self, index: int, weight_bits: int, activation_bits: int, point: int) -> Measurement:
        """Latency and energy of one layer.

        Raises:
            ValueError: naming the layer, if ZigZag cannot map it onto the hardware.
        """
        layer, where = self.layers[index], self.points[point]
        assert layer.geometry is not None
        key = replace(layer.geometry, uses=1), weight_bits, activation_bits
        if key not in self._found:
            try:
                self._found[key] = self._hardware.evaluate(*key)
            except Refused as error:
                raise ValueError(
                    f"ZigZag cannot map layer {layer.name} ({weight_bits}-bit weights, {activation_bits}-bit "
                    f"activations) onto {self.name}: {error}"
                ) from None
        found, uses = self._found[key], layer.geometry.uses
        scale = (where.voltage_v / self._hardware.reference_v) ** 2
        energy_pj = found["array_pj"] * scale
        for memory, picojoules in found["memory_pj"].items():
            energy_pj += picojoules * (1.0 if memory in self._hardware.fixed else scale)
        return Measurement(uses * found["cycles"] / (where.frequency_mhz * 1e3), uses * energy_pj * 1e-6)


class _Hardware:
    """A description in ZigZag's terms, and ZigZag's results, from the cache if they are there."""

    def __init__(self, description: Description) -> None:
        content, where = description.content, description.where
        self.reference_v = description.number("reference_voltage_v", above_zero=True)
        self.bit_scalable = content.get("bit_scalable", False)
        if not isinstance(self.bit_scalable, bool):
            raise ValueError(f"{where}: bit_scalable must be true or false, not {self.bit_scalable!r}")
        self.accumulator_bits = int(
            Description({"accumulator_bits": 32} | dict(content), where).number("accumulator_bits", True)
        )
        memories = description.part("memories")
        checked: dict[str, dict[str, Any]] = {}
        for name in memories.content:
            memory = memories.part(name)
            for key in ("r_cost", "w_cost"):
                if key not in memory.content:
                    raise ValueError(f"{memory.where}: {key} is missing: give the energy of an access, in pJ")
                memory.number(key)
            if memory.content.get("auto_cost_extraction"):
                raise ValueError(
                    f"{memory.where}: auto_cost_extraction is not supported: give r_cost and w_cost, in pJ"
                )
            checked[name] = {"area": 0, "latency": 1} | dict(memory.content)
        self.fixed: Sequence[str] = content.get("fixed_supply", [])
        check_type(self.fixed, list[str], f"{where}: fixed_supply")
        for name in self.fixed:
            if name not in checked:
                raise ValueError(f"{where}: fixed_supply: unknown memory {name!r}: choose from {', '.join(checked)}")
        array = description.part("operational_array")
        if "unit_energy" not in array.content:
            raise ValueError(f"{array.where}: unit_energy is missing: give the energy of a multiply-accumulate, in pJ")
        array.number("unit_energy")
        self.array = {"unit_area": 1} | dict(array.content)
        self.accelerator = {"name": "accelerator", "memories": checked, "operational_array": self.array}
        self.spatial = self._spatial(description.part("spatial_mapping"))
        self.orders = _loop_orders(content.get("loop_orders", "search"), where)

    def _spatial(self, mapping: Description) -> dict[str, tuple[str, int]]:
        """For each dimension of the array, the loop along it and the number of multipliers."""
        dimensions, sizes = self.array.get("dimensions"), self.array.get("sizes")
        if not isinstance(dimensions, list) or not isinstance(sizes, list) or len(dimensions) != len(sizes):
            raise ValueError(f"{mapping.where}: operational_array needs dimensions and as many sizes")
        check_type(dimensions, list[str], f"{mapping.where}: dimensions of operational_array")
        check_type(sizes, list[int], f"{mapping.where}: sizes of operational_array")
        mapping.check_keys(dimensions)
        loops = list(mapping.content.values())
        check_type(loops, list[str], f"{mapping.where}: what it gives the dimensions")
        if len(set(loops)) != len(loops) or not set(loops) <= set(LOOPS):
            raise ValueError(
                f"{mapping.where} must give each dimension another loop of {', '.join(LOOPS)}, not {loops}"
            )
        return {d: (mapping.content[d], size) for d, size in zip(dimensions, sizes, strict=True)}

    def evaluate(self, shape: Geometry, weight_bits: int, activation_bits: int) -> dict[str, Any]:
        """Cycles and energies (pJ, of the array and of every memory) of a layer used once."""
        task = {
            "format": _CACHE_FORMAT,
            "zigzag": zigzag_version(),
            "accelerator": self.accelerator,
            "mapping": [self.spatial, self.orders, self.accumulator_bits, self.bit_scalable],
            "layer": asdict(shape),
            "bits": [weight_bits, activation_bits],
        }
        # The order of keys counts: memories are given from the array outwards.
        digest = hashlib.sha256(json.dumps(task).encode()).hexdigest()
        path = cache_dir() / "zigzag" / f"{digest[:32]}.json"
        try:
            kept = json.loads(path.read_text())
            if kept["task"] == json.loads(json.dumps(task)):
                return dict(kept["found"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # missing or damaged: made again
        found = min(
            (self._run(shape, weight_bits, activation_bits, order) for order in self.orders or (None,)),
            # The usual figure of merit of mappings: the product of energy and delay.
            key=lambda one: one["cycles"] * (one["array_pj"] + sum(one["memory_pj"].values())),
        )
        write_atomically(path, json.dumps({"task": task, "found": found}) + "\n")
        return found

    def _run(
        self, shape: Geometry, weight_bits: int, activation_bits: int, order: Sequence[str] | None
    ) -> dict[str, Any]:
        sizes = {
            "OX": shape.output_size[1], "OY": shape.output_size[0], "FX": shape.kernel[1], "FY": shape.kernel[0],
            "C": shape.in_channels // shape.groups, "K": shape.out_channels // shape.groups, "G": shape.groups,
        }  # fmt: skip
        unrolled = {d: (loop, min(size, sizes[loop])) for d, (loop, size) in self.spatial.items()}
        mapping: dict[str, Any] = {
            "name": "default",
            "spatial_mapping": {d: [f"{loop}, {size}"] for d, (loop, size) in unrolled.items()},
            "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
        }
        if order is not None:
            left = dict(sizes)
            for loop, size in unrolled.values():
                left[loop] = math.ceil(left[loop] / size)
            whole = (*order, *(loop for loop in LOOPS if loop not in order))
            if any(size > 1 for size in left.values()):
                mapping["temporal_ordering"] = [[loop, left[loop]] for loop in whole if left[loop] > 1]
        workload = {
            "id": 0,
            "name": "layer",
            "operator_type": "Conv",
            "equation": "O[g][k][oy][ox]+=W[g][k][c][fy][fx]*I[g][c][iy][ix]",
            "dimension_relations": [
                f"ix={shape.stride[1]}*ox+{shape.dilation[1]}*fx", f"iy={shape.stride[0]}*oy+{shape.dilation[0]}*fy",
            ],
            "loop_dims": list(sizes),
            "loop_sizes": list(sizes.values()),
            # Partial sums are wide; what leaves the layer is as narrow as what it was given.
            "operand_precision": {
                "W": weight_bits, "I": activation_bits, "O": self.accumulator_bits, "O_final": activation_bits,
            },
            "operand_source": {"I": 0, "W": 0},
            "pr_loop_dims": ["IX", "IY"],
            "pr_loop_sizes": [shape.input_size[1], shape.input_size[0]],
            "padding": [[shape.padding[1]] * 2, [shape.padding[0]] * 2],
        }  # fmt: skip
        share = weight_bits * activation_bits / 64 if self.bit_scalable else 1.0
        found = evaluate(self.accelerator, mapping, workload, share)
        return found | {"array_pj": found["array_pj"] * share}


def _loop_orders(given: Any, where: str) -> tuple[tuple[str, ...], ...] | None:
    """Loop orders to try, or ``None`` for ZigZag's own search."""
    if given == "search":
        return None
    orders = given if isinstance(given, list) and given else [given]
    for order in orders:
        check_type(order, str | list[str], f"{where}: loop_orders")
        if isinstance(order, str) or not order or len(set(order)) != len(order) or not set(order) <= set(LOOPS):
            raise ValueError(
                f"{where}: loop_orders must be search, or lists of different loops of {', '.join(LOOPS)}, not {order!r}"
            )
    return tuple(tuple(order) for order in orders)
