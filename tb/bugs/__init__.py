"""Planted bugs: the catalogue of them, who must notice each, and the planter. Imports nothing of ours."""
