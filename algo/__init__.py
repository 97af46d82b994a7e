"""Data, networks, quantisation, training, chip model, tuning host and the command line."""
