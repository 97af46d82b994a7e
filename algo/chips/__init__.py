"""What gives latency and energy of a policy.

May import: sim.files, algo.support, algo.space, algo.published, algo.nets.
"""
