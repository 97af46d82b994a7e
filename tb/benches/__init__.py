"""The cocotb benches, one a block."""
