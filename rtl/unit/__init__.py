"""The RL unit: its blocks, the core that joins them, the register file and the top.

May import: rtl.spec, rtl.primitives, rtl.episodes, rtl.planning.
"""
