"""What becomes of the unit outside Amaranth."""
