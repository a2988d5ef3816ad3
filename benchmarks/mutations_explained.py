"""Mutants that survive because no test could tell them from the program: file -> name -> why."""

from __future__ import annotations

EXPLAINED: dict[str, dict[str, str]] = {}
