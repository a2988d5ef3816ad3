"""Log-likelihoods of data: by the flow, lower bounds, and their units."""
