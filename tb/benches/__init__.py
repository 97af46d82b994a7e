"""The cocotb benches, one for each block."""
