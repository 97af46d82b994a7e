"""The IP package: its contents, and the files that it ships unchanged.

May import: rtl.spec, rtl.unit, rtl.bus, rtl.verilog, rtl.flows.fpga.
"""
