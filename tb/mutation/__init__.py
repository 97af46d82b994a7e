"""Small faults put into the RTL, and what is known of them.

May import: rtl.spec, rtl.flows.fpga, sim.files, tb.kit.
"""
