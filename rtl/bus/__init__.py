"""The unit behind standard buses."""
