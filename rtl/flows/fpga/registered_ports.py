"""A module with a flip-flop at each port, so that the paths through its ports are timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Name of the module around another one.
TOP = "registered"
#: Prefix of the flip-flops' names.
PREFIX = "port_"
#: The instance of the module inside.
INSTANCE = "unit"


def around(module: str, ports: Sequence[Mapping[str, Any]], *, unconnected: Sequence[str] = ("probe",)) -> str:
    """Verilog of a module `TOP` around another one.

    Its flip-flops are one in front of each input and one behind each output. They have the module's clock and cannot
    be left out. The paths from and to them are as long as in a design whose own flip-flops are just outside.

    Args:
        module: name of the module inside, whose clock is ``clk``.
        ports: its ports, as `rtl.verilog.ports` lists them.
        unconnected: prefixes of outputs that a design leaves open.
    """
    wires, clocked, connections, declared = [], [], [".clk(clk)"], ["input wire clk"]
    for port in ports:
        name, width = port["name"], f"[{port['width'] - 1}:0]"
        if name == "clk":
            continue
        if port["direction"] == "out" and name.startswith(tuple(unconnected)):
            connections.append(f".{name}()")
            continue
        inward = port["direction"] == "in"
        declared.append(f"{'input' if inward else 'output'} wire {width} {name}")
        wires.append(f"(* keep *) reg {width} {PREFIX}{name};")
        if inward:
            clocked.append(f"{PREFIX}{name} <= {name};")
            connections.append(f".{name}({PREFIX}{name})")
        else:
            wires.append(f"wire {width} from_{name};")
            wires.append(f"assign {name} = {PREFIX}{name};")
            clocked.append(f"{PREFIX}{name} <= from_{name};")
            connections.append(f".{name}(from_{name})")
    return "\n".join(
        [
            f"module {TOP}(",
            ",\n".join(f"  {line}" for line in declared),
            ");",
            *(f"  {line}" for line in wires),
            "  always @(posedge clk) begin",
            *(f"    {line}" for line in clocked),
            "  end",
            f"  {module} {INSTANCE}(",
            ",\n".join(f"    {line}" for line in connections),
            "  );",
            "endmodule",
            "",
        ]
    )
