"""Formal proofs of the RTL: one module per block, listed in ``catalogue``, run by ``python -m tb.prove``.

May import: rtl, tb.bugs.
"""
