"""The search: one loop, its schedules."""
