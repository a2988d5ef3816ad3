"""The forward SDE: how data become noise."""

from configs.rules import ANY, INSIDE, LEVELS, NOT_NEGATIVE, POSITIVE, entries
from configs.setting import OfLevels, OfModel, Setting

SETTINGS: dict[str, Setting] = {
    "sde.name": OfModel("vp", ANY, "the forward SDE: vp, subvp, ve, edm, iddpm (the levels of "
                        "sde.schedule), levels (the same, and the network is told of noise between "
                        "them) or learned (VP with a trained noise schedule); all: SDES in "
                        "sde_lib/build.py"),
    "sde.beta_min": OfModel(0.1, POSITIVE, "vp, subvp: noise rate beta(t) at t = 0; iddpm, levels: "
                            "sde.num_scales times the first beta of a linear sde.schedule"),
    "sde.beta_max": OfModel(20.0, POSITIVE, "vp, subvp: noise rate beta(t) at t = 1; iddpm, "
                            "levels: sde.num_scales times the last beta"),
    "sde.sigma_min": OfModel(0.01, POSITIVE, "ve: noise level sigma(t) at t = 0; edm: smallest "
                             "noise level"),
    "sde.sigma_max": OfModel(50.0, NOT_NEGATIVE, "ve: noise level sigma(t) at t = 1; edm: largest "
                             "noise level; auto: largest distance of two training examples"),
    "sde.log_snr_max": OfModel(13.0, ANY, "learned: log(alpha^2 / sigma^2) at t = 0"),
    "sde.log_snr_min": OfModel(-10.0, ANY, "learned: log(alpha^2 / sigma^2) at t = 1"),
    "sde.schedule": OfModel("cosine", ANY, "iddpm, levels: noise of the sde.num_scales levels: "
                            "cosine, linear, scaled_linear (of Stable Diffusion) or table; all: "
                            "SCHEDULES in sde_lib/iddpm.py"),
    "sde.betas": OfLevels((), entries(INSIDE), "table: beta of each level, the least noisy first"),
    "sde.zero_terminal_snr": OfModel(False, ANY, "iddpm, levels: rescale the levels so that the "
                                     "last has no signal; model.prediction must be v or data"),
    "sde.terminal_alpha": OfModel(2.0**-12, INSIDE, "zero_terminal_snr: alpha of the last level, "
                                  "for the 0 at which it cannot be computed with"),
    "sde.num_scales": OfModel(1000, LEVELS, "number of noise levels of a discrete-time model; also "
                              "the default of sampling.num_steps"),
}  # fmt: skip
