"""Planted bugs: their catalogue, the checks that must notice each, and the planter. Imports nothing of ours."""
