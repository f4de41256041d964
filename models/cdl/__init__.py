"""Comparative Deep Learning: network, training, negatives, triplets."""
