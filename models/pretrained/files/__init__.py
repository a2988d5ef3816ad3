"""Containers of arrays, read without running anything in them."""
