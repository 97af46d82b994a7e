"""Networks and their quantisation.

May import: sim.signals, sim.devices, algo.support, algo.space, algo.nets.models.
"""
