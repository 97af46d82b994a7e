"""The RTL in a simulator: building, caching and serving it.

May import: rtl.spec, rtl.unit, rtl.verilog, sim.files, sim.signals, sim.model, sim.devices.
"""
