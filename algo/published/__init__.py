"""The published facts.

May import: algo.support, algo.space.
"""
