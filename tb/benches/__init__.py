"""The cocotb benches, one for each block.

May import: rtl, sim, tb.kit.
"""
