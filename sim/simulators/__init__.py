"""The RTL in a simulator: built, cached and served.

May import: rtl.spec, rtl.unit, rtl.verilog, sim.files, sim.model, sim.devices.
"""
