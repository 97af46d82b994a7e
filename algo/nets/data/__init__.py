"""Data sets: built in, and the user's own.

May import: sim.files, algo.support.
"""
