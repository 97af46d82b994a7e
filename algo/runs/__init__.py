"""Tuning runs: configuration, folder, summary, replay.

May import: rtl.spec, sim.files, sim.devices, sim.simulators, algo.support, algo.space, algo.published, algo.nets,
algo.chips, algo.search.
"""
