"""The search: one loop, its schedules.

May import: rtl.spec, sim.model, sim.devices, algo.support, algo.space, algo.published, algo.chips.
"""
