"""Description of the unit, without Amaranth: parameters, registers and their exports, serial protocol, buses.

May import: nothing of ours.
"""
