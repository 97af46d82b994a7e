"""cocotb benches for each block of the RL unit and for its top."""
