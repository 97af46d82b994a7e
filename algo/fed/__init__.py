"""FAQS: one search over many clients that keep their images, counted in bytes.

May import: algo.support, algo.nets, algo.nas.
"""
