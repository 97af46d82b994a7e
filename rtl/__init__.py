"""The RL unit in Amaranth: parameters, register map, blocks and top."""
