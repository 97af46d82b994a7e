"""A board's design in a simulator, behind a pseudo-terminal.

May import: rtl, sim.
"""
