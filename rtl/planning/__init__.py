"""What a planning unit adds: known costs and trials, predictions, learning effects, and the search for a plan.

May import: rtl.spec, rtl.primitives, rtl.episodes.
"""
