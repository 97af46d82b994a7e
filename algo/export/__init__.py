"""The networks of a run as ONNX files.

May import: sim.files, sim.devices, algo.support, algo.space, algo.nets, algo.nas, algo.runs.
"""
