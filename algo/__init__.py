"""Data, networks, quantisation, training, chip model, tuning host and the command line.

`bench` may import: rtl.spec, sim, algo.chips, algo.search, algo.nets, algo.fed.codec.
`cli` may import: algo.commands.
"""
