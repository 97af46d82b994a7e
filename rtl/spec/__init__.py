"""What the unit is, without Amaranth: parameters, registers and their exports, the serial protocol, the buses.

May import: nothing of ours.
"""
