"""One run of ZigZag: a layer, its bit-widths and a mapping on an accelerator. It is silent and leaves no file."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sim.files import scratch_folder

_SEARCHED_FACTORS = 6  # ZigZag's own default: the most pieces that loops are cut into


class Refused(Exception):
    """ZigZag's refusal in one line."""


def evaluate(
    accelerator: Mapping[str, Any], mapping: Mapping[str, Any], workload: Mapping[str, Any], cycles_per_op: float
) -> dict[str, Any]:
    """Cycles and energies (pJ) of a layer: the stages of ``zigzag.api`` except those that save and draw.

    Args:
        accelerator, mapping, workload: in ZigZag's own format; workload is one layer.
        cycles_per_op: cycles that a multiply-accumulate takes a multiplier, also a fraction.

    Returns:
        ``cycles``, ``array_pj`` (at full width) and ``memory_pj`` by memory.

    Raises:
        Refused: if ZigZag finds no mapping, or refuses what it was given.
    """
    with scratch_folder("rlu-zigzag-") as folder, _silent():
        import yaml  # type: ignore[import-untyped]
        from zigzag.cost_model.cost_model import CostModelEvaluation
        from zigzag.mapping.temporal_mapping import TemporalMappingType
        from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
        from zigzag.stages.main import MainStage
        from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
        from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
        from zigzag.stages.parser.accelerator_parser import AcceleratorParserStage
        from zigzag.stages.parser.workload_parser import WorkloadParserStage
        from zigzag.stages.results.reduce_stages import MinimalEDPStage
        from zigzag.stages.workload_iterator import WorkloadStage

        class ScaledCostModelStage(CostModelStage):
            """The cost model with multipliers that need a part of a cycle, or several cycles, for an operation."""

            def run(self) -> Generator[tuple[Any, Any], None, None]:
                yield (
                    CostModelEvaluation(
                        accelerator=self.accelerator,
                        layer=self.layer,
                        spatial_mapping=self.spatial_mapping,
                        spatial_mapping_int=self.spatial_mapping_int,
                        temporal_mapping=self.temporal_mapping,
                        access_same_data_considered_as_no_access=True,
                        cycles_per_op=cycles_per_op,
                    ),
                    None,
                )

        files = {"hardware.yaml": accelerator, "mapping.yaml": [mapping]}
        for name, content in files.items():  # in the given order of keys: memories are listed from the array outwards
            (Path(folder) / name).write_text(yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False))
        stages: list[Any] = [
            WorkloadParserStage, AcceleratorParserStage, WorkloadStage, MinimalEDPStage, SpatialMappingGeneratorStage,
            MinimalEDPStage, TemporalMappingGeneratorStage, ScaledCostModelStage,
        ]  # fmt: skip
        try:
            made: Any = MainStage(
                stages,
                accelerator=str(Path(folder) / "hardware.yaml"),
                mapping=str(Path(folder) / "mapping.yaml"),
                workload=[workload],
                loma_lpf_limit=_SEARCHED_FACTORS,
                loma_show_progress_bar=False,
                nb_mappings_generated=1,
                temporal_mapping_type=TemporalMappingType.UNEVEN,
            ).run()[0][0]
        except Exception as error:  # ZigZag asserts as often as it raises
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            said = " ".join(str(error).replace(f"{folder}/", "").split())
            raise Refused((kind + said)[:300]) from None
        memory_pj: dict[str, float] = {}
        for operand, energies in made.mem_energy_breakdown.items():
            levels = made.accelerator.memory_hierarchy.get_memory_levels(
                made.memory_operand_links.layer_to_mem_op(operand)
            )
            for level, energy in zip(levels, energies, strict=True):
                memory_pj[level.name] = memory_pj.get(level.name, 0.0) + float(energy)
        return {"cycles": float(made.latency_total2), "array_pj": float(made.mac_energy), "memory_pj": memory_pj}


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress the log messages of ZigZag, which go to standard error unless a log is set up."""
    logger = logging.getLogger("zigzag")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def zigzag_version() -> str:
    """Version of ZigZag; ModuleNotFoundError if it is not installed."""
    import zigzag  # noqa: F401  (says what is not installed)

    return version("zigzag-dse")
