"""Policy tables: accuracy and cost of every policy, built, kept and scored.

May import: sim.files, sim.devices, algo.support, algo.space, algo.nets, algo.chips, algo.search.
"""
