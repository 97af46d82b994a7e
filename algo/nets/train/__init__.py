"""Training: gradient descent, pre-training, retraining, shared weights.

May import: sim.files, algo.support, algo.space, algo.nets, algo.nets.data.
"""
