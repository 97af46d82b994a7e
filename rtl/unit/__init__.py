"""The RL unit: its blocks, the core that joins them, the register file and the top."""
