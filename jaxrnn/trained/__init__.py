"""Trained models opened for reading: what a run directory and a model in one file have in common, and its answers."""
