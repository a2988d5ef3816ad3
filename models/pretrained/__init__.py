"""Published weights, ready for every sampler.

    from models.pretrained import load
    score = load("checkpoint_24.pth", config=config, ema=True)
    score(x, t); score.denoise(x, t, condition)          # x [B, H, W, C]

A new family is a module with `recognises`, `read` and `params` (`base.Format`) and a line in
`opening.FORMATS`. No file runs code: see `pickles` and docs/import.md.
"""

from models.pretrained.base import Checkpoint, Format, MismatchError, PretrainedError
from models.pretrained.opening import FORMATS, Opened, load, open_checkpoint, params_of

__all__ = ["FORMATS", "Checkpoint", "Format", "MismatchError", "Opened", "PretrainedError", "load",
           "open_checkpoint", "params_of"]  # fmt: skip
