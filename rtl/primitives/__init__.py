"""Small circuits that know nothing of the unit.

May import: rtl.spec.
"""
