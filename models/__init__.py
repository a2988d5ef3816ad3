"""Score networks: `build` one from a config, `init` its parameters, `count` them.

A network is called as `network.apply({"params": params}, x, label, condition, train=...)` and
returns its raw output, shaped like x; `models.layers.conditions` says what a condition may be.
The meanings of the label and of the output belong to the parametrization in `sde_lib`.

A new network is a file with a `build(config)` and a row in `models.build.NETWORKS`: its `build`, or
`Augmented(build)` if it takes labels of an augmentation, or a `NetworkRow` that says what else it
takes. Examples whose axes it cannot take as they are (`multiples`), images beside them and missing
values are seen to by `models.fitted`.
"""

from models.build import (
    AUTOENCODERS,
    CLASSIFIERS,
    NETWORKS,
    Augmented,
    build,
    build_any,
    build_autoencoder,
    build_classifier,
    check,
    count,
    init,
    is_autoencoder,
    is_classifier,
)

__all__ = ["AUTOENCODERS", "CLASSIFIERS", "NETWORKS", "Augmented", "build", "build_any",
           "build_autoencoder", "build_classifier", "check", "count", "init", "is_autoencoder",
           "is_classifier"]  # fmt: skip
