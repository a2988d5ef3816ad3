"""Rules: what a measurement changes in the steps of a sampler, and not in the score."""
