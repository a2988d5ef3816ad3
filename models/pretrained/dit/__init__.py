"""Importers of DiT: its authors' files, and diffusers' directories."""
