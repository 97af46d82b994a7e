"""Parts that the benches share: configurations, set-up, models, monitors.

May import: rtl, sim.
"""
