"""Formal proofs of the RTL: one module a block, the list of them in ``catalogue``, run by ``python -m tb.prove``.

May import: rtl, tb.bugs.
"""
