"""The unit outside Amaranth: FPGA tools and the IP package.

May import: nothing of ours.
"""
