"""The episode memory of the episodic unit, and the blocks that search it.

May import: rtl.spec, rtl.primitives.
"""
