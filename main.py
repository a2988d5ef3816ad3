"""score-sde-jax: train a score model, and use it.

    python main.py --config configs/vp_digits.py --mode train --workdir runs/digits
    python main.py --config configs/vp_digits.py --mode sample --workdir runs/digits

Every setting can be given as --config.section.key=value; configs/schema.py lists them all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from absl import flags
from ml_collections import config_flags

FLAGS = flags.FLAGS
CONFIG = config_flags.DEFINE_config_file("config", None, "The config file, e.g. configs/vp_digits.py")
flags.DEFINE_string("workdir", None, "The directory of one run: checkpoints, logs, samples")
flags.DEFINE_string("mode", None, "train or sample")
flags.mark_flags_as_required(["config", "workdir", "mode"])


def _train() -> int:
    from train_lib.experiment import Experiment
    from train_lib.loop import train

    return train(Experiment.of(FLAGS.config), Path(FLAGS.workdir))


def _sample() -> int:
    from eval_lib.sampling import sample
    from train_lib.experiment import Experiment

    return sample(Experiment.of(FLAGS.config), Path(FLAGS.workdir))


MODES: dict[str, Callable[[], int]] = {"train": _train, "sample": _sample}


def _user_errors() -> tuple[type[Exception], ...]:
    from train_lib.checkpoint import CheckpointError
    from train_lib.files import WorkdirLockedError
    from train_lib.loop import Diverged
    from train_lib.workdir import WorkdirError

    return ValueError, OSError, CheckpointError, WorkdirLockedError, WorkdirError, Diverged


def _one_line(error: BaseException) -> str:
    # KeyError quotes its message; everything after the first line is for developers.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    lines = text.strip().splitlines()
    return lines[0] if lines else type(error).__name__


def main(argv: list[str]) -> int:
    """Parse, dispatch, and turn errors of the user's making into one line and exit code 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return 2
    if FLAGS.mode not in MODES:
        print(f"error: --mode must be one of {', '.join(MODES)}, got {FLAGS.mode!r}",
              file=sys.stderr)  # fmt: skip
        return 2
    expected = _user_errors()
    try:
        return MODES[FLAGS.mode]()
    except expected as error:
        if os.environ.get("SCORE_SDE_TRACEBACK"):
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
