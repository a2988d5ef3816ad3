"""Configs: one parametrized file per family of experiments; `schema` has every setting."""
