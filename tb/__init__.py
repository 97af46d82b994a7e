"""cocotb benches for each block of the RL unit and for its top.

`run` may import: sim, tb.kit.
`mutate` may import: sim, tb.kit, tb.mutation.
`coverage` may import: sim, tb.kit, tb.mutation.
`prove` may import: rtl.flows.fpga, sim.files, tb.kit, tb.bugs, tb.proofs.
"""
