"""Mutants that survive because no test could tell them from the program: file -> name -> why."""

from __future__ import annotations


def _all(text: str, changes: str, why: str) -> dict[str, str]:
    """{"text | change": why} of changes that are told apart by semicolons."""
    return {f"{text} | {change.strip()}": why for change in changes.split(";")}


EXPLAINED: dict[str, dict[str, str]] = {
    "sde_lib/oracles.py": {
        **_all(
            "return self.means[k] + jnp.sqrt(self.variances[k])[:, None] * z",
            "self.means[k] + jnp.sqrt(self.variances[k])[:, None] * z -> "
            "self.means[k] - jnp.sqrt(self.variances[k])[:, None] * z",
            "z and -z have one law",
        ),
    },
    "train_lib/augment.py": {
        **_all(
            "chosen = jax.random.uniform(next(keys), (n,)) < (self.p if p is None else p)",
            "jax.random.uniform(next(keys), (n,)) < (self.p if p is None else p) -> "
            "jax.random.uniform(next(keys), (n,)) <= (self.p if p is None else p)",
            "a uniform number is equal to p once in 2^23 draws",
        ),
    },
    "data_lib/levels.py": {
        **_all("_BLOCK_VALUES = 2**20", "2 ** 20 -> 2 * 20; 2 -> 3; 2 -> 1; 20 -> 21; 20 -> 19",
               "how many values are looked at together changes no result"),
        **_all("deep: Range = (0, 2 ** max(high.bit_length(), 1) - 1)", "1 -> 2; 1 -> 0",
               "where the largest value is 0 no range fits: low < high fails for any `deep`"),
        **_all("if (black, white) != (0.0, 1.0):", "0.0 -> 1.0; 1.0 -> 2.0",
               "(x - 0) / (1 - 0) is x to the last bit"),
        **_all("top, one, white, varied = 0, False, False, False", "0 -> 1",
               "matters where all values are 0, or 0 and 255, in both of which 0 is returned"),
        **_all("step = max(1, _BLOCK_VALUES * len(values) // max(values.size, 1))", "1 -> 2 #2",
               "values of no size are in no block, whatever the step"),
    },
}  # fmt: skip
