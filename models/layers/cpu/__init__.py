"""Everything that only programs for CPUs need, behind one setting, `cpu_tuned`.

Each of these pays at least 5% of a training step or 20% of its compilation (benchmarks/README.md).
They are chosen where a program is lowered, so that none is in a program for an accelerator, and
change results by rounding only.
"""
