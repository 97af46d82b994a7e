"""Formal proofs of the RTL: one module a block, listed in ``catalogue``, run by ``python -m tb.prove``.

May import: rtl, tb.bugs.
"""
