"""The cocotb benches, one a block.

May import: rtl, sim, tb.kit.
"""
