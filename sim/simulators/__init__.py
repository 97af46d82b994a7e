"""The RTL in a simulator: building, caching and serving it."""
