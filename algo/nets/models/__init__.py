"""The networks that can be named, one file each: the file's name is the network's.

Each file gives the network's class as ``NETWORK``, which takes ``classes``, ``channels``, ``width`` and ``image_size``,
and the width of its usual size as ``PUBLISHED_WIDTH``.

May import: nothing of ours.
"""
