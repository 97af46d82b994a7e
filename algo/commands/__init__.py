"""Subcommands of `rlu`, a module a subject; each imports what it needs when it runs.

May import: rtl.spec, rtl.verilog, rtl.flows, sim, algo.
"""
