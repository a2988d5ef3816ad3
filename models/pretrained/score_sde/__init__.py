"""Checkpoints of score_sde's two repositories."""
