"""The memory of episodes of the episodic unit, and what searches it.

May import: rtl.spec, rtl.primitives.
"""
