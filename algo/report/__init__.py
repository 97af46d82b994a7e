"""The page about a run.

May import: algo.support, algo.space, algo.published, algo.nets, algo.chips, algo.search, algo.nas, algo.fed, algo.runs.
"""
