"""What all of `algo` uses: settings, users' files, and work in cells.

May import: sim.files, sim.signals.
"""
