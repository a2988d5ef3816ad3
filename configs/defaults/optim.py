"""The optimizer and its learning rate."""

from configs.rules import ANY, FRACTION, NOT_NEGATIVE, PERIOD, POSITIVE
from configs.setting import OfModel, Setting

SETTINGS: dict[str, Setting] = {
    "optim.optimizer": OfModel("Adam", ANY, "Adam or AdamW; all: OPTIMIZERS in "
                               "train_lib/optimizer.py"),
    "optim.lr": OfModel(2e-4, POSITIVE, "learning rate after warm-up"),
    "optim.beta1": OfModel(0.9, FRACTION, "decay of the first moment of the gradient"),
    "optim.beta2": OfModel(0.999, FRACTION, "decay of the second moment of the gradient"),
    "optim.eps": OfModel(1e-8, POSITIVE, "constant added to the square root of the second moment"),
    "optim.weight_decay": OfModel(0.0, NOT_NEGATIVE, "AdamW: decoupled weight decay"),
    "optim.warmup": OfModel(5000, PERIOD, "updates during which the learning rate rises linearly "
                            "from 0"),
    "optim.schedule": OfModel("constant", ANY, "learning rate after warm-up: constant, or falling "
                              "to 0 at training.n_iters by cosine or linear; all: DECAYS in "
                              "train_lib/optimizer.py"),
    "optim.grad_clip": OfModel(1.0, ANY, "largest global norm of the gradient, above which it is "
                               "scaled down; 0 or less: no clipping"),
}  # fmt: skip
