"""The IP package: its contents, and the files that it ships unchanged."""
