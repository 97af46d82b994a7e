"""What can be chosen: policies and the space that they come from, and the layers they are about.

May import: algo.support.
"""
