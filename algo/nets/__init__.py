"""Networks and their quantisation.

May import: sim.devices, algo.support, algo.space, algo.nets.models.
"""
