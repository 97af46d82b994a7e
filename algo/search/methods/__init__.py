"""Search methods, by name.

May import: rtl.spec, sim.model, sim.devices, algo.space, algo.published, algo.search, algo.search.tables.
"""
