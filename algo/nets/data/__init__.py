"""Data sets: built in, and the user's own."""
