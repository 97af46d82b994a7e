"""Networks and their quantisation.

May import: sim.files, sim.devices, algo.support, algo.space, algo.published.
"""
