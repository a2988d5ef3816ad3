"""Small linen modules that the networks are made of."""
