"""The RTL in a simulator: built, cached and served."""
