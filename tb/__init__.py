"""Verification: cocotb benches of the RL unit and its blocks, formal proofs, planted bugs, mutation, coverage."""
