"""Samplers of the reverse process, and time grids.

`samplers.named` has the tables of names for configs; a new sampler, corrector or grid is one class
and one row there.
"""

from samplers.adaptive.adams import AdaptiveAdams
from samplers.adaptive.ode import AdaptiveODE
from samplers.adaptive.sde import AdaptiveSDE
from samplers.base import (
    Corrector,
    Plan,
    Program,
    Sampler,
    Samples,
    State,
    check_memory,
    planned_evaluations,
    run,
    sample,
    sample_keys,
)
from samplers.build import BudgetError, build, build_times, only_ends, start_scale
from samplers.correctors import BatchMean, Langevin, NoiseLevel, PerSample, Posterior
from samplers.grids import IDDPM, Borrowed, Flow, Grid, Indices, Karras, LogSNR, Power, Uniform
from samplers.named import CORRECTORS, GRIDS, PREDICTORS, PUBLISHED_NAMES
from samplers.pc import PredictorCorrector
from samplers.planned.ending import ENDINGS, Ended
from samplers.planned.forms import MEASURES
from samplers.planned.grouped import GroupedDPMSolver
from samplers.planned.linear import LinearSampler, Rise, Row
from samplers.planned.multistep import AdamsBashforth, UniPC
from samplers.planned.multistep_sde import ERSDE, SASolver, SDEDPMSolverPP
from samplers.planned.one_step import MultiStage, OneStep, Step
from samplers.planned.plms import PLMS
from samplers.planned.restart import Restart
from samplers.planned.runge_kutta import Churn, RungeKutta
from samplers.planned.singlestep import SEEDS, AncestralDPM2, BrownianDPM, DPMSolver, StochasticHeun
from samplers.predictors import (
    DDIM,
    Accelerated,
    Ancestral,
    Consistency,
    EulerMaruyama,
    Idle,
    ReverseDiffusion,
    TrajectoryConsistency,
)
from samplers.respacing import Respaced, respaced
from samplers.spacing import SpacedLevels

__all__ = [
    "CORRECTORS", "DDIM", "ENDINGS", "ERSDE", "GRIDS", "IDDPM", "MEASURES", "PLMS", "PREDICTORS",
    "PUBLISHED_NAMES", "SEEDS", "Accelerated", "AdamsBashforth", "AdaptiveAdams", "AdaptiveODE",
    "AdaptiveSDE", "Ancestral", "AncestralDPM2", "BatchMean", "Borrowed", "BrownianDPM",
    "BudgetError", "Churn", "Consistency", "Corrector", "DPMSolver", "Ended", "EulerMaruyama",
    "Flow", "Grid", "GroupedDPMSolver", "Idle", "Indices", "Karras", "Langevin", "LinearSampler",
    "LogSNR", "MultiStage", "NoiseLevel", "OneStep", "PerSample", "Plan", "Posterior", "Power",
    "PredictorCorrector", "Program", "Respaced", "Restart", "ReverseDiffusion", "Rise", "Row",
    "RungeKutta", "SASolver", "SDEDPMSolverPP", "Sampler", "Samples", "SpacedLevels", "State",
    "Step", "StochasticHeun", "TrajectoryConsistency", "UniPC", "Uniform", "build", "build_times",
    "check_memory", "only_ends", "planned_evaluations", "respaced", "run", "sample", "sample_keys",
    "start_scale",
]  # fmt: skip
