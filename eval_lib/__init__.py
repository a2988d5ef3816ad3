"""Measurements of a trained score: likelihood, features, metrics; and pictures of results."""
