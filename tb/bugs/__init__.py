"""Planted bugs: their catalogue, the checks that must notice each, and the planter.

May import: nothing of ours.
"""
