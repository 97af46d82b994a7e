"""Tuning runs: configuration, folder, summary, replay."""
