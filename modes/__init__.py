"""One file per `--mode`: what is built from a config, and run."""
