"""Small faults in the RTL, and the explained survivors.

May import: rtl.spec, rtl.flows.fpga, sim.files, tb.kit.
"""
