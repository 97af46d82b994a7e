"""Training: gradient descent, pre-training, retraining, shared weights."""
