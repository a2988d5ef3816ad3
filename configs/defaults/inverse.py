"""Inverse problems: what was measured, with which noise, and the method that solves them."""

from configs.rules import (
    ANY,
    BATCH,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    ROUNDS,
    SEED,
    STEPS,
    Rule,
    whole,
)
from configs.setting import Setting

SETTINGS: dict[str, Setting] = {
    "inverse.measure": Setting("inpaint", ANY, "--mode reconstruct: what was measured of each "
                               "example: inpaint (some of its numbers), gray or colorize (a mix of "
                               "its channels), average or bicubic (fewer pixels), gaussian_blur, "
                               "motion_blur or kernel_blur, fourier (some frequencies), coils (the "
                               "same, of several coils), radon (projections), or FILE.py:FUNCTION; "
                               "all: OPERATORS in sde_lib/measurements/named.py"),
    "inverse.noise": Setting(0.0, NOT_NEGATIVE, "standard deviation of the noise in a number of "
                             "the measurement, in the units of the data (gray levels: black is 0, "
                             "white is 1)"),
    "inverse.rate": Setting(0.0, NOT_NEGATIVE, "counts for each unit of the measurement, of "
                            "Poisson noise beside inverse.noise; 0: no such noise"),
    "inverse.mask": Setting("", ANY, "inpaint, fourier, coils: what is measured: .png, .npy or "
                            ".npz file, white (nonzero) where it is, or a pattern: left, top (that "
                            "half), outside (all but a box in the middle), random, every, "
                            "random_lines, even_lines; empty: left, of frequencies random_lines; "
                            "all: MASKS in sde_lib/measurements/patterns.py"),
    "inverse.mask_seed": Setting(0, SEED, "masks random, random_lines: seed of the draw"),
    "inverse.share": Setting(0.5, Rule(lambda v: 0 < v <= 1, "in (0, 1]"), "mask random: share of "
                             "pixels that is measured"),
    "inverse.factor": Setting(2, whole(1, 1024), "average, bicubic: pixels along an axis for each "
                              "measured one; mask every: one pixel is measured of so many along "
                              "each axis"),
    "inverse.acceleration": Setting(4.0, Rule(lambda v: v >= 1, "at least 1"), "masks "
                                    "random_lines, even_lines: number of all lines for each one "
                                    "that is measured"),
    "inverse.centre": Setting(0.08, FRACTION, "masks random_lines, even_lines: share of all lines "
                              "that is measured around the frequency 0"),
    "inverse.complex": Setting(False, ANY, "fourier, coils: channels of the data are the real and "
                               "imaginary parts of complex numbers, in turn"),
    "inverse.coils": Setting("", ANY, "coils: .npy file of complex sensitivities, [coils, height, "
                             "width]"),
    "inverse.blur_std": Setting(1.0, POSITIVE, "gaussian_blur: standard deviation in pixels"),
    "inverse.blur_length": Setting(5.0, POSITIVE, "motion_blur: length of the motion in pixels"),
    "inverse.blur_angle": Setting(0.0, ANY, "motion_blur: direction in degrees, 0: along a row, "
                                  "90: up"),
    "inverse.kernel": Setting("", ANY, "kernel_blur: .png, .npy or .npz file of the kernel, its "
                              "origin in the middle"),
    "inverse.angles": Setting(30, whole(1, 10_000), "radon: number of angles, evenly spaced over "
                              "180 degrees"),
    "inverse.input": Setting("", ANY, "--mode reconstruct: the measurements, a .npy or .npz file "
                             "of one or several; inpaint: the examples of which some numbers are "
                             "known, a folder of pictures, a picture or such a file; empty: they "
                             "are made of inverse.truth, eval.images or eval.split"),
    "inverse.truth": Setting("", ANY, "--mode reconstruct: the examples that were measured, to "
                             "compare with, a folder of pictures, a picture, a .npy or .npz file"),
    "inverse.lpips": Setting("", ANY, "--mode reconstruct: weights of LPIPS (the reference "
                             "implementation's state_dict, alex or vgg) to compare pictures with "
                             "the truth; empty: not computed"),
    "inverse.samples": Setting(4, BATCH, "--mode reconstruct: samples of the posterior of each "
                               "measurement"),
    "inverse.method": Setting("mmps", ANY, "--mode reconstruct: how samples are told of the "
                              "measurement (docs/inverse.md); all: METHODS in "
                              "samplers/rules/named.py"),
    "inverse.iterations": Setting(1, ROUNDS, "mmps: solver iterations per step, each a backward "
                                  "pass of the network"),
    "inverse.solver": Setting("cg", ANY, "mmps: cg (conjugate gradients, for 1 iteration) or gmres "
                              "(for several, as the network's Jacobian is not symmetric)"),
    "inverse.weight": Setting(-1.0, Rule(lambda v: v >= 0 or v == -1, "zero or positive, or -1"),
                              "dps, pigdm_step: length of the step along the gradient; diffpir: "
                              "weight of the denoised example; red_diff: of the model; -1: the "
                              "default of the method"),
    "inverse.squared": Setting(False, ANY, "dps: the gradient of the squared norm of the misfit, "
                               "not of the norm"),
    "inverse.data_variance": Setting(-1.0, Rule(lambda v: v > 0 or v == -1, "positive, or -1"),
                                     "pigdm, daps, tds, fps: variance of an encoded number of the "
                                     "data; -1: as published, 1 for pigdm and fps, else infinite"),
    "inverse.jump_length": Setting(10, ROUNDS, "repaint: steps from which a jump goes up again"),
    "inverse.jump_n_sample": Setting(10, ROUNDS, "repaint: times that every step is made; 1: no "
                                     "jumps"),
    "inverse.eta": Setting(0.85, Rule(lambda v: 0 <= v <= 1, "in [0, 1]"), "ddrm: share of new "
                           "noise where the measurement says nothing or little"),
    "inverse.eta_b": Setting(1.0, Rule(lambda v: 0 <= v <= 1, "in [0, 1]"), "ddrm: weight of the "
                             "measurement where it is less noisy than the state"),
    "inverse.flow_steps": Setting(5, ROUNDS, "daps: evaluations at each level, steps of the flow "
                                  "to x_0"),
    "inverse.flow_end": Setting(0.01, NOT_NEGATIVE, "daps: sigma / alpha at which the flow to x_0 "
                                "ends"),
    "inverse.langevin": Setting(0, STEPS, "daps: Langevin steps at each level, for operators that "
                                "are not linear; 0: exact draws"),
    "inverse.langevin_step": Setting(1e-4, POSITIVE, "daps: size of Langevin steps at the first "
                                     "level"),
    "inverse.langevin_end": Setting(1e-6, POSITIVE, "daps: size of Langevin steps at the last "
                                    "level"),
    "inverse.lr": Setting(0.1, POSITIVE, "red_diff: learning rate of Adam"),
    "inverse.particles": Setting(16, whole(1, 4096), "tds, fps: particles of each sample"),
    "inverse.resample": Setting(0.5, Rule(lambda v: 0 <= v <= 1, "in [0, 1]"), "tds, fps: share of "
                                "the particles that matter, below which they are drawn anew"),
    "inverse.tau": Setting(0.0, NOT_NEGATIVE, "daps: deviation of encoded measurements that "
                           "Langevin steps take for the noise's, as published 0.01; 0: the "
                           "noise's"),
    "inverse.stop": Setting(0.0, NOT_NEGATIVE, "ilvr: sigma / alpha below which nothing is "
                            "replaced"),
}  # fmt: skip
