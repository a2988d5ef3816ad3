"""Mutants that survive because no test could tell them from the program: file -> name -> why."""

from __future__ import annotations


def _all(text: str, changes: str, why: str) -> dict[str, str]:
    """{"text | change": why} of changes that are told apart by semicolons."""
    return {f"{text} | {change.strip()}": why for change in changes.split(";")}


_BUDGET = "how many are looked at: the error of an estimate, and no part of what it is of"
_TRIES = "a budget, which a run that ends stays below"
_OWN_KEYS = "keys that are other ones, and each of its own, as well"
_TOGETHER = "how many values are looked at together changes no result"
_ANY_NEGATIVE = "NumPy takes any negative length for the one that is left"
_INTEGERS = "squared distances of levels are integers"

EXPLAINED: dict[str, dict[str, str]] = {
    "sde_lib/oracles.py": {
        **_all(
            "return self.means[k] + jnp.sqrt(self.variances[k])[:, None] * z",
            "self.means[k] + jnp.sqrt(self.variances[k])[:, None] * z -> "
            "self.means[k] - jnp.sqrt(self.variances[k])[:, None] * z",
            "z and -z have one law",
        ),
    },
    "train_lib/chain.py": {
        **_all("link = Link.of(sde, jnp.maximum(i - 1, 0) / last, jnp.maximum(i, 1) / last)",
               "1 -> 0 #2", "at level 0 the link is not taken, and is finite with either end"),
    },
    "train_lib/step.py": {
        **_all("COARSE_STREAM, UNTOLD_STREAM = 2**32 - 1, 2**32 - 2",
               "2 ** 32 -> 2 * 32; 2 -> 1; 32 -> 31; 2 ** 32 -> 2 * 32 #2; 32 -> 31 #2; 2 -> 3 #3; "
               "2 -> 1 #2; 2 -> 3; 2 -> 3 #2", _OWN_KEYS),
    },
    "train_lib/history.py": {
        **_all("learned = (1 - UNIFORM) * rms / jnp.where(total > 0, total, 1.0) + UNIFORM / n",
               "total > 0 -> total >= 0; 1.0 -> 2.0",
               "what is divided by a total of 0 is not taken"),
    },
    "models/layers/embeddings.py": {
        **_all("return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)", "-1 -> 1",
               "angles have two axes"),
        **_all("waves = jnp.concatenate(halves[::-1] if self.cosines_first else halves, axis=-1)",
               "-1 -> 1 #2", "angles have two axes"),
        **_all("waves = Positional(LEVEL_WAVES)(1000 * jnp.where(shown, level, 0)"
               ".astype(jnp.float32))", "0 -> 1", "waves of an unknown level are not taken"),
    },
    "models/layers/pieces.py": {
        **_all("return jnp.concatenate([part.reshape(b, -1) for part in parts], axis=-1)",
               "-1 -> 1 #2", "parts have two axes"),
        **_all("first, second = np.triu_indices(n if n <= CORRELATED else 0, 1)", "0 -> 1",
               "one number has no correlation either"),
    },
    "samplers/planned/levels.py": {
        **_all("SHORTEST = 64", "64 -> 65; 64 -> 63",
               "how far arrays are padded changes how many programs there are and no result"),
    },
    "samplers/brownian.py": {
        **_all("left = jnp.clip((part - s) / width, 0.0, 1.0)", "1.0 -> 2.0",
               "a part is in its interval, whose ends have 20 digits and no round-off"),
    },
    "samplers/adaptive/integrate.py": {
        **_all("max_steps: int = static(default=4096)", "4096 -> 4097; 4096 -> 4095", _TRIES),
    },
    "samplers/adaptive/ode.py": {
        **_all("max_steps: int = static(default=4096)", "4096 -> 4097; 4096 -> 4095", _TRIES),
    },
    "sde_lib/bins.py": {
        **_all("flip = low + high > 0", "low + high > 0 -> low + high >= 0",
               "a bin with the mean in its middle is its own mirror image"),
    },
    "eval_lib/likelihood/bounds.py": {
        **_all("error = _error(score, x, _noise(keys, x, 2 * i + 1), t)[1]",
               "2 * i + 1 -> 2 * i - 1", _OWN_KEYS),
        **_all("found, error = _error(score, x, noise(i + 1), times[i + 1])", "1 -> 2", _OWN_KEYS),
    },
    "eval_lib/likelihood/data_law.py": {
        **_all("BLOCK = 4096", "4096 -> 4097; 4096 -> 4095",
               "how many images are added together changes no result"),
    },
    "eval_lib/likelihood/estimators.py": {
        **_all("x = self.bins.center(data) + self.bins.spacing * u",
               "self.bins.center(data) + self.bins.spacing * u -> "
               "self.bins.center(data) - self.bins.spacing * u",
               "u and -u have one law and one density"),
        **_all("FILL_STREAM, TRACE_STREAM, TERM_STREAM = 0, 1, 2", "2 -> 3", _OWN_KEYS),
        **_all("probes = _folded(keys, self.draws + TERM_STREAM)",
               "self.draws + TERM_STREAM -> self.draws - TERM_STREAM",
               "draws fold their keys once more, so that none of them is this one"),
    },
    "eval_lib/likelihood/flow.py": {
        **_all("straight = jnp.abs(sine) < 1e-4",
               "jnp.abs(sine) < 0.0001 -> jnp.abs(sine) <= 0.0001",
               "rounded sines of codes that are drawn are all but never the limit"),
        **_all("jnp.where(straight, p, jnp.sin(p * angle) / jnp.where(straight, 1.0, sine))",
               "1.0 -> 2.0", "where it is the divisor, the quotient is not taken"),
    },
    "eval_lib/metrics/base.py": {
        **_all(
            "kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)",
            "values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0) -> "
            "values >= len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)",
            "an eigenvalue at the limit is round-off; where all are 0, columns of zeros do nothing",
        ),
        **_all("if n <= most:", "n <= most -> n < most", "all of n, sorted, are 0 .. n - 1"),
    },
    "eval_lib/metrics/frechet.py": {
        **_all("design = np.stack([np.ones(BLOCKS), counts / len(x)], axis=1)",
               "counts / len(x) -> counts * len(x)",
               "the unit of the abscissa changes neither the intercept nor its error"),
    },
    "eval_lib/metrics/manifold.py": {
        **_all("gaps[own, first + own] = -1.0  # so that its 0-th neighbour is itself",
               "1.0 -> 2.0", "any number below 0 comes first"),
        **_all("MOST = 10_000", "10000 -> 10001; 10000 -> 9999", _BUDGET),
        **_all("ROWS = 1000", "1000 -> 1001; 1000 -> 999",
               "how many rows are worked out together changes no result"),
    },
    "eval_lib/metrics/memorisation.py": {
        **_all("MOST = 2000", "2000 -> 2001; 2000 -> 1999", _BUDGET),
        **_all("real = reference[chosen_rows(len(reference), 10_000)]",
               "10000 -> 10001; 10000 -> 9999", _BUDGET),
        **_all('f"{part:.0%} of the held-out images are training images" if limit < 0.5 else ""',
               "limit < 0.5 -> limit <= 0.5; 0.5 -> 1.0", _INTEGERS),
        **_all('"train_copies": float((fake < 0.5).mean()),',
               "fake < 0.5 -> fake <= 0.5; 0.5 -> 1.0", _INTEGERS),
    },
    "eval_lib/metrics/sliced.py": {
        **_all("DIRECTIONS = 256", "256 -> 257; 256 -> 255", _BUDGET),
    },
    "train_lib/augment.py": {
        **_all(
            "chosen = jax.random.uniform(next(keys), (n,)) < (self.p if p is None else p)",
            "jax.random.uniform(next(keys), (n,)) < (self.p if p is None else p) -> "
            "jax.random.uniform(next(keys), (n,)) <= (self.p if p is None else p)",
            "a uniform number is equal to p once in 2^23 draws",
        ),
    },
    "data_lib/bounds.py": {
        **_all("return np.asarray(row, dtype).reshape((1,) * (x.ndim - 1) + (-1,))",
               "1 -> 2 #2", "axes of length 1 before the others are there by themselves"),
        **_all("return np.asarray(row, dtype).reshape((1,) * (x.ndim - 1) + (-1,))",
               "1 -> 2 #3", _ANY_NEGATIVE),
    },
    "data_lib/codec.py": {
        **_all("BLOCK_VALUES = 2**22", "2 ** 22 -> 2 * 22; 2 -> 3; 2 -> 1; 22 -> 23; 22 -> 21",
               _TOGETHER),
        **_all("block = max(1, BLOCK_VALUES * len(values) // max(values.size, 1))",
               "1 -> 2; 1 -> 2 #2; max(values.size, 1) -> min(values.size, 1)", _TOGETHER),
        **_all("yield values[first : first + block].reshape(-1, values.shape[-1])"
               ".astype(np.float64)", "1 -> 2", _ANY_NEGATIVE),
        **_all("there = rows[rows >= 0]", "rows >= 0 -> rows > 0",
               "0 is in every vocabulary, so that it need not be looked at"),
        **_all("std = np.sqrt(square / np.maximum(count, 1))", "1 -> 2",
               "the squared deviation of one value is 0"),
        **_all("rounding = 4 * np.finfo(values.dtype if values.dtype.kind == \"f\" else np.float64)"
               ".eps", "4 -> 5; 4 -> 3", "a few roundings, of which a constant needs one at most"),
    },
    "data_lib/levels.py": {
        **_all("_BLOCK_VALUES = 2**20", "2 ** 20 -> 2 * 20; 2 -> 3; 2 -> 1; 20 -> 21; 20 -> 19",
               _TOGETHER),
        **_all("deep: Range = (0, 2 ** max(high.bit_length(), 1) - 1)", "1 -> 2; 1 -> 0",
               "where the largest value is 0 no range fits: low < high fails for any `deep`"),
        **_all("if (black, white) != (0.0, 1.0):", "0.0 -> 1.0; 1.0 -> 2.0",
               "(x - 0) / (1 - 0) is x to the last bit"),
        **_all("top, one, white, varied = 0, False, False, False", "0 -> 1",
               "matters where all values are 0, or 0 and 255, in both of which 0 is returned"),
        **_all("step = max(1, _BLOCK_VALUES * len(values) // max(values.size, 1))", "1 -> 2 #2",
               "values of no size are in no block, whatever the step"),
    },
    "eval_lib/array_metrics/base.py": {
        **_all("MOST_ENTRIES = 512", "512 -> 513; 512 -> 511", _BUDGET),
        **_all("return flat[..., chosen], self.truths.reshape(len(self.truths), -1)[:, chosen]",
               "1 -> 2", _ANY_NEGATIVE),
    },
    "eval_lib/array_metrics/distances.py": {
        **_all("MOST_SLICED = 10_000", "10000 -> 9999; 10000 -> 10001", _BUDGET),
    },
    "eval_lib/array_metrics/spectra.py": {
        **_all("channels = power.reshape(-1, power.shape[-1]).T", "1 -> 2", _ANY_NEGATIVE),
    },
    "eval_lib/restoration.py": {
        **_all("square = np.mean((x - truth).reshape(len(x), -1).astype(np.float64) ** 2, axis=1)",
               "1 -> 2", _ANY_NEGATIVE),
    },
}  # fmt: skip
