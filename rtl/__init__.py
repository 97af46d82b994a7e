"""The RL unit in Amaranth: parameters, register map, blocks and top.

`files` may import: nothing of ours.
`verilog` may import: rtl.files, rtl.spec, rtl.primitives, rtl.unit. It loads a bus by the name in `rtl.spec.buses`.
"""
