"""Samplers with a fixed number of steps, planned on the host in float64."""
