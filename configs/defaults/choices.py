"""Settings that have an effect only for some values of another."""

CHOICES: dict[str, tuple[str, ...]] = {
    "sampling.predictor": (
        "probability_flow", "order", "form", "high_order_start", "second_order",
        "ancestral_variance", "eta", "gamma", "mu", "tau", "tau_min", "tau_max", "s_churn", "s_min",
        "s_max", "s_noise", "restart_solver", "restart_min", "restart_max", "restart_steps",
        "restart_times", "rtol", "atol", "max_steps", "ode_solver", "ode_clock", "step_control",
        "num_steps", "low_order_end", "euler_end", "even_steps", "plms_start", "third_order",
        "ending", "timestep_scaling",
    ),
    "sampling.corrector": ("pc_order", "snr", "delta", "n_steps_each", "norm"),
    "sampling.grid": (
        "shift", "rho", "respacing", "spacing", "steps_offset", "warp", "distilled_steps",
    ),
    "sampling.guidance_kind": (
        "guidance", "guidance_min", "guidance_max", "guidance_channels", "guidance_rescale",
        "guidance_quantile",
        "guidance_parallel", "guidance_radius", "guidance_momentum", "guide", "guide_step",
        "guide_ema_rate",
    ),
    "eval.likelihood": (
        "bins", "dequantization", "importance_samples", "trace", "probe", "num_probes",
        "ode_solver", "ode_clock", "step_control", "rtol", "atol", "max_steps", "bound_draws",
        "bound_steps", "respacing", "decoder_variance", "cdf", "clip",
    ),
    "data.codec": (
        "mean", "std", "low", "high", "centered", "autoencoder", "autoencoder_hash", "latent_shape",
        "latent_shift", "latent_scale", "tile",
    ),
    "model.condition": (
        "vocabulary", "text_width", "text_layers", "text_heads", "pooled_tokens",
    ),
    "data.dataset": (
        "tfds_name", "data_dir", "range", "crop", "filter", "test_fraction", "cache", "columns",
        "condition_columns", "label_column", "task", "simulations", "words", "glyphs", "colours",
        "draws", "left_out",
    ),
    "inverse.measure": (
        "mask", "factor", "complex", "coils", "blur_std", "blur_length", "blur_angle", "kernel",
        "angles",
    ),
    "edit.method": ("source",),
    "inverse.mask": ("mask_seed", "share", "acceleration", "centre"),
    "inverse.method": (
        "iterations", "solver", "weight", "squared", "data_variance", "stop", "jump_length",
        "jump_n_sample", "eta", "eta_b", "flow_steps", "flow_end", "langevin", "langevin_step",
        "langevin_end", "tau", "particles", "resample", "lr",
    ),
    "training.time_law": ("eps", "sigma_mean", "sigma_std"),
    "training.objective": (
        "vlb_weight", "cdf", "random_crop", "reconstruction", "reconstruction_logvar", "kl_weight",
        "codebook_weight", "commitment", "legacy_commitment", "lpips", "lpips_weight", "adversary",
        "adversary_weight", "adversary_start",
    ),
}  # fmt: skip
"""Setting -> settings of the same section that have an effect only for some of its values."""
