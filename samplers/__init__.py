"""Samplers of the reverse process, and time grids.

`samplers.named` has the tables of what a config can name; a new sampler, corrector or grid is one
class and one row there.
"""

from samplers.adaptive_adams import AdaptiveAdams
from samplers.adaptive_sde import AdaptiveSDE
from samplers.base import (
    Corrector,
    Plan,
    Program,
    Sampler,
    Samples,
    State,
    run,
    sample,
    sample_keys,
)
from samplers.build import BudgetError, build, build_times
from samplers.correctors import BatchMean, Langevin, NoiseLevel, PerSample, Posterior
from samplers.forms import MEASURES
from samplers.grids import IDDPM, Borrowed, Flow, Indices, Karras, LogSNR, Power, Uniform
from samplers.linear import LinearSampler, Rise, Row
from samplers.multistep import ERSDE, AdamsBashforth, SASolver, SDEDPMSolverPP, UniPC
from samplers.named import CORRECTORS, GRIDS, PREDICTORS, PUBLISHED_NAMES
from samplers.ode import AdaptiveODE
from samplers.one_step import MultiStage, OneStep, Step
from samplers.pc import PredictorCorrector
from samplers.predictors import (
    DDIM,
    Accelerated,
    Ancestral,
    EulerMaruyama,
    Idle,
    ReverseDiffusion,
)
from samplers.restart import Restart
from samplers.runge_kutta import Churn, RungeKutta
from samplers.singlestep import SEEDS, DPMSolver, StochasticHeun

__all__ = [
    "CORRECTORS", "DDIM", "ERSDE", "GRIDS", "IDDPM", "MEASURES",
    "PREDICTORS", "PUBLISHED_NAMES", "SEEDS", "Accelerated", "AdamsBashforth", "AdaptiveAdams",
    "AdaptiveODE", "AdaptiveSDE", "Ancestral", "BatchMean", "Borrowed", "BudgetError", "Churn",
    "Corrector", "DPMSolver", "EulerMaruyama", "Flow", "Idle", "Indices", "Karras", "Langevin",
    "LinearSampler", "LogSNR", "MultiStage", "NoiseLevel", "OneStep", "PerSample", "Plan",
    "Posterior", "Power", "PredictorCorrector", "Program", "Restart", "ReverseDiffusion", "Rise",
    "Row", "RungeKutta", "SASolver", "SDEDPMSolverPP", "Sampler", "Samples", "State", "Step",
    "StochasticHeun", "UniPC", "Uniform", "build", "build_times", "run", "sample", "sample_keys",
]  # fmt: skip
