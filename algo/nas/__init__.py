"""HQNAS: architecture and bit-widths of a network searched together, to a latency.

May import: sim.files, algo.support, algo.space, algo.nets, algo.chips.
"""
