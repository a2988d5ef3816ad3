"""Log-likelihoods of data: the flow's, the bounds, and their units."""
