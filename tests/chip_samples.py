"""Layers and a chip that the tests of chips share."""

from hypothesis import strategies as st

from algo.chips.evolver import EvolverChip
from algo.space.layers import Geometry, LayerShape

EVOLVER = EvolverChip()
TINY = LayerShape("tiny", 2304, 144, 64, 64, Geometry(4, 4, (4, 4), (4, 4), (3, 3), padding=(1, 1)))
DENSE = LayerShape("dense", 2048, 2048, 64, 32, Geometry(64, 32, linear=True))
NO_LOOPS = LayerShape("odd", 10, 10, 10, 10)
#: A table of measured layers as a CSV.
GOOD_CSV = """\
# origin: a bench
layer,weight_bits,activation_bits,voltage_v,frequency_mhz,latency_ms,energy_uj
a,4,8,0.8,100,1.5,10
a,8,8,0.8,100,2.5,20
b,4,8,0.8,100,0.5,1
b,8,8,0.8,100,1.0,2
"""
bits = st.sampled_from((2, 4, 8))
