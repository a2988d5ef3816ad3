"""Posteriors p(theta | x) from simulations: neural posterior estimation by a diffusion.

    python main.py --config configs/sbi.py:two_moons --mode train --workdir runs/moons
    python main.py --config configs/sbi.py:two_moons --mode sample --workdir runs/moons \
        --config.sampling.condition=observed.npy --config.sampling.num_samples=5000
    python main.py --config configs/sbi.py:slcp ... --config.data.data_dir=DIR   of DIR/slcp.npz
    python main.py --config configs/sbi.py:two_moons,smoke ...                   seconds

Tasks of Lueckmann et al. 2021 (arXiv:2101.04653): two_moons, gaussian_linear, gaussian_mixture and
slcp are simulated where no file is given, data.simulations times (10,000); bernoulli_glm needs its
file, which has arrays theta [n, 10] and x [n, 10]. A task of your own: `configs/arrays.py`, or
`--config.data.task=NAME --config.data.data_dir=DIR` here with the shape and prior that it has.

A uniform prior on a box ends with a step, which a diffusion would blur: data.codec=bounded maps the
box to all numbers, so that no sample leaves it, by a straight line that bends at the ends: then
theta - x means the same everywhere, and the network is given x beside theta. The x of slcp is four
independent points of one law, whose order says nothing: data.exchangeable=4 shuffles them in
training, which makes 24 simulations of each, and tells the network their moments.
"""

from functools import partial
from typing import NamedTuple

from ml_collections import ConfigDict

from configs import arrays, variants
from configs.variants import Variant


class Task(NamedTuple):
    """A task: numbers of theta, half the side of the box of a uniform prior (0 for none), updates
    of training, more of which would learn the simulations by heart, the number of independent
    observations in x, features of the network, the share of a box's side within which the map of
    theta bends, and the rate of the weights' average."""

    parameters: int
    box: float = 0.0
    n_iters: int = 10_000
    observations: int = 1
    features: int = 128
    edge: float = 0.05
    ema_rate: float = 0.999


TASKS = {
    "two_moons": Task(2, box=1.0),
    "gaussian_linear": Task(10, n_iters=5_000),
    # Its narrower half is a hundredth of the box wide: more of everything, and a shorter bend.
    "gaussian_mixture": Task(2, box=10.0, n_iters=30_000, features=256, edge=0.02, ema_rate=0.9995),
    "slcp": Task(5, box=3.0, observations=4, features=256),
    "bernoulli_glm": Task(10, n_iters=5_000),
}
DEFAULT = "two_moons"


def base() -> ConfigDict:
    """Settings common to all tasks."""
    config = arrays.base()
    config.data.dataset = "simulations"
    model = config.model
    model.name = "mlp"
    model.condition = "vector"
    model.vector_at_stem = True
    model.num_res_blocks = 4
    config.training.batch_size = 256
    config.training.n_jitted_steps = 50
    config.training.log_freq = 1000
    config.sampling.num_samples = config.sampling.batch_size = 1000
    return config


def put(name: str, config: ConfigDict) -> None:
    """Change `config` into that of a task."""
    task, data = TASKS[name], config.data
    data.task = name
    arrays.periods(config, task.n_iters)
    data.shape = (task.parameters,)
    config.model.nf = task.features
    config.model.ema_rate = task.ema_rate
    data.exchangeable = task.observations
    data.codec = "bounded" if task.box else "standardize"
    corner = (task.box,) * task.parameters if task.box else ()
    data.low, data.high = tuple(-side for side in corner), corner
    data.edge = task.edge if task.box else 0.0


VARIANTS: dict[str, Variant] = {
    **{name: partial(put, name) for name in TASKS},
    "smoke": arrays.smoke,
}


def get_config(argument: str = "") -> ConfigDict:
    """This file's configuration, changed as the variants in `argument` say."""
    config = base()
    put(DEFAULT, config)
    return variants.apply(config, argument, VARIANTS)
