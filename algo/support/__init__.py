"""What all of `algo` leans on: users' files, and work in cells.

May import: sim.files.
"""
