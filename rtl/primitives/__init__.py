"""Small circuits that know nothing of the unit."""
