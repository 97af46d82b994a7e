"""Planted bugs: the catalogue of them, who must notice each, and the planter.

May import: nothing of ours.
"""
