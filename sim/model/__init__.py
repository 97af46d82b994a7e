"""The bit-exact unit in Python: arithmetic, golden model, a batch of units.

May import: rtl.spec.
"""
