"""The unit outside Amaranth: FPGA tools, the IP package, and a SoC around it.

May import: nothing of ours.
"""
