"""Units behind their registers, and the driver for them.

May import: rtl.spec, sim.files, sim.model.
"""
