"""The IP package: what it holds, and the files that it ships as they are."""
