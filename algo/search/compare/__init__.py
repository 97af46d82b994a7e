"""Methods, and variants of the unit, compared over many seeds."""
