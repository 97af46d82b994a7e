"""A system on a chip in small: a RISC-V processor, memory, a serial port and the unit, made with LiteX.

May import: rtl.files, rtl.spec, rtl.flows.fpga, rtl.flows.ip.
"""
