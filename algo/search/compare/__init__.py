"""Methods, and variants of the unit, compared over many seeds.

May import: rtl.spec, sim.model, sim.devices, algo.support, algo.space, algo.chips, algo.search.
"""
