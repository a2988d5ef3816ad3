"""Checkpoints of others, and ours for others."""
