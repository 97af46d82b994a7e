"""The unit's registers on a serial line."""
