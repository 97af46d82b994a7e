"""The unit's registers on a serial line.

May import: rtl.spec, rtl.unit.
"""
