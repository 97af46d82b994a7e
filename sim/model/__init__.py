"""The bit-exact unit in Python: arithmetic, golden model, and many units at once.

May import: rtl.spec.
"""
