"""Scores of p(x_0 | y) for a measurement y, exact or approximate, for any sampler."""
