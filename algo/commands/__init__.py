"""Subcommands of `rlu`, one module per subject; each imports what it needs when it runs.

May import: rtl.spec, rtl.verilog, rtl.flows, sim, algo.
"""
