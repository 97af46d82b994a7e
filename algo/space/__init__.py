"""What can be chosen: policies, the space that they come from, and the layers of a network.

May import: nothing of ours.
"""
