"""The IP package: what it holds, and the files that it ships as they are.

May import: rtl.files, rtl.spec, rtl.unit, rtl.bus, rtl.verilog, rtl.flows.fpga.
"""
