"""Proof that a model learned: frozen features, simple classifiers on them, and intervals that resample places."""
