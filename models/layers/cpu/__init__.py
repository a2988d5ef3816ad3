"""Implementations and rewrites that only XLA's CPU backend needs."""
