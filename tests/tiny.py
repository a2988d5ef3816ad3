"""The smallest network that has all that matters for training: a noise level, weights, dropout.

`arguments` gives the command line of a run on digits that takes seconds.
"""

from pathlib import Path

import jax
from flax import linen as nn

import models
from modes import reading


class Tiny(nn.Module):
    """Two convolutions."""

    @nn.compact
    def __call__(self, x, label, condition=None, *, train=False):
        shift = nn.Dense(4)(label[:, None])
        h = jax.nn.silu(nn.Conv(4, (3, 3))(x) + shift[:, None, None, :])
        h = nn.Dropout(0.1, deterministic=not train)(h)
        return nn.Conv(x.shape[-1], (3, 3))(h)


CONFIG = Path(__file__).parents[1] / "configs" / "vp_digits.py"


def register() -> None:
    """Make it known as model.name='tiny'."""
    models.NETWORKS["tiny"] = lambda config: Tiny()


SETTINGS = {
    "model.name": "tiny",
    "training.batch_size": "8",
    "training.n_iters": "10",
    "training.log_freq": "1",
    "training.eval_freq": "0",
    "training.snapshot_freq": "100",
    "training.snapshot_freq_for_preemption": "1",
    "training.snapshot_sampling": "False",
    "optim.schedule": "constant",
    "optim.warmup": "0",
    "sampling.num_samples": "6",
    "sampling.batch_size": "4",
    "sampling.num_steps": "4",
    "sampling.predictor": "euler_maruyama",
}


def _reads(mode: str, name: str) -> bool:
    return name in ("sampling.num_steps", "sampling.predictor") or reading.is_listed(name, mode)


def arguments(mode: str, workdir: object, **settings: object) -> list[str]:
    """The command line of a tiny run; settings as training__n_iters=12."""
    own = {k: v for k, v in SETTINGS.items() if not k.startswith("sampling.") or _reads(mode, k)}
    given = own | {name.replace("__", "."): value for name, value in settings.items()}
    run = ["--config", f"{CONFIG}:smoke", "--mode", mode, "--workdir", str(workdir)]
    return run + [f"--config.{name}={value}" for name, value in given.items()]
