"""Networks and their quantisation."""
