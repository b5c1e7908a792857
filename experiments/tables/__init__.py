"""Figures and tables of the documentation, from the numbers in experiments/results."""
