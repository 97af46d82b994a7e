"""What becomes of the unit outside Amaranth.

May import: nothing of ours.
"""
