"""Search methods, by name."""
