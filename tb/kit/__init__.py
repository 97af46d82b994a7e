"""What the benches are made of: configurations, set-up, models, monitors.

May import: rtl, sim.
"""
