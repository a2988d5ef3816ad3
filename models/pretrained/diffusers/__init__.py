"""diffusers' directories."""
