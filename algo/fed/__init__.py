"""FAQS: one search over many clients that keep their images, counted in bytes.

May import: sim.files, algo.support, algo.space, algo.nets, algo.nas.
"""
