"""One file per `--mode`, which builds what it needs from a config and runs it."""
