"""The memory of episodes of the episodic unit, and what searches it."""
