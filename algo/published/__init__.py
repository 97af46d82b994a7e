"""The published facts."""
