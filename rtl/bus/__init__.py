"""The unit behind standard buses.

May import: rtl.spec, rtl.unit.
"""
