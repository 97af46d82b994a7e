"""Verification: cocotb benches of the RL unit and its blocks, formal proofs, planted bugs, mutation, coverage.

`run` may import: sim, tb.kit.
`mutate` may import: sim, tb.kit, tb.mutation.
`coverage` may import: sim, tb.kit, tb.mutation.
`prove` may import: rtl.flows.fpga, sim.files, tb.kit, tb.bugs, tb.proofs.
"""
