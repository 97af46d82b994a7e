"""What gives latency and energy of a policy."""
