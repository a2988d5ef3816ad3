"""Samplers of fixed steps, planned on the host in float64."""
