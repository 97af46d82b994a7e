"""Clock, area and bitstreams with open FPGA tools.

May import: rtl.files, rtl.spec, rtl.verilog, rtl.flows.fpga.boards.
"""
