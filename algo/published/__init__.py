"""The published facts.

May import: algo.space.
"""
