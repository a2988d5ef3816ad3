"""Errors of foreign checkpoints."""


class PretrainedError(ValueError):
    """A foreign checkpoint that cannot be used; the first line of the message says why."""
