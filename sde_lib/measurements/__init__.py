"""Measurements y = A x_0 + deviation n of examples, for inverse problems.

An operator is one class in a file of its subject and one row of `measurements.named.OPERATORS`.
"""
