"""Units behind their registers, and the driver that uses one.

May import: rtl.spec, sim.files, sim.model.
"""
