"""Parts of `--mode eval`: protocol, draws, cells, report."""
