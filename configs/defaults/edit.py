"""Edits of given examples."""

from configs.rules import ANY, BATCH, Rule, entries, whole
from configs.setting import Setting

SETTINGS: dict[str, Setting] = {
    "edit.input": Setting("", ANY, "--mode edit: the examples, a folder of pictures, a picture, a "
                          ".npy or .npz file; empty: eval.images or eval.split"),
    "edit.method": Setting("sdedit", ANY, "--mode edit: how the example gets noise: sdedit (at "
                           "random), ddim (the sampler run upwards) or flow (the same, solved "
                           "exactly); all: WAYS in modes/edit.py"),
    "edit.strength": Setting(0.5, Rule(lambda v: 0 < v <= 1, "in (0, 1]"), "--mode edit: part of "
                             "the sampler's grid that is run again, from its end"),
    "edit.samples": Setting(4, BATCH, "--mode edit: edits of each example"),
    "edit.mask": Setting("", ANY, "--mode edit: what stays as it is, in white (nonzero): a file or "
                         "a pattern as of inverse.mask; empty: nothing"),
    "edit.source": Setting((), entries(whole(0, 2**20)), "ddim, flow: classes of the examples, one "
                           "for all or one for each; (): as their labels say"),
}  # fmt: skip
