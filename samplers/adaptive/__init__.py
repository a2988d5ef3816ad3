"""Samplers that choose their steps on the device, and their integrators."""
