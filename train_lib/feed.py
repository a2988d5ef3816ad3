"""Batches of training data from a step on, stacked for several updates, on the devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np

import data_lib
from configs.kinds import of_config
from data_lib import codec
from data_lib.conditions import build_condition, check_texts
from runtime_lib import sharding
from train_lib.step import Batch


def check_labels(splits: data_lib.Splits, classes: int) -> None:
    """Raise ValueError unless the training data have the labels that a model of `classes` needs."""
    labels = splits.train.labels
    if not classes:
        return
    if labels is None:
        why = f" ({splits.train.unlabelled})" if splits.train.unlabelled else ""
        raise ValueError(f"model.num_classes={classes} needs labelled data, and {splits.name} has "
                         f"no labels{why}: use model.num_classes=0, or give some")  # fmt: skip
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"model.num_classes={classes} is too few for {splits.name}, whose labels "
                         f"run from {labels.min()} to {labels.max()}")  # fmt: skip


def check_conditions(splits: data_lib.Splits, config: Any) -> None:
    """Raise ValueError unless training data have the conditions that the model is given, if any."""
    kinds = of_config(config)
    if kinds.names and splits.train.condition is not None:
        if splits.train.condition.shape[1:] != kinds.stored:
            told = [",".join(map(str, s)) for s in (splits.train.condition.shape[1:], kinds.stored)]
            raise ValueError(
                f"data.condition must be the shape of the conditions of {splits.name}, {told[0]}, "
                f"or shapes of {kinds.words} that make as many numbers, got {told[1]}"
            )
        check_texts(splits.train.condition, config, splits.name)


def used(images: data_lib.Images, config: Any) -> data_lib.Images:
    """The images with those labels and conditions only that the network is given."""
    model = config.model
    return replace(
        images,
        labels=images.labels if model.num_classes else None,
        condition=images.condition if of_config(config).names else None,
    )


def unused(images: data_lib.Images, config: Any) -> str:
    """A remark for the user on conditions that the network is not given; '' without any."""
    if images.condition is None or config.model.condition != "none":
        return ""
    return ("the conditions of the data are not used, as model.condition=none: vector, image, "
            "tokens or text would give them to the network")  # fmt: skip


def training_batches(images: data_lib.Images, config: Any, start: int) -> data_lib.Batches:
    """The batches of a run from step `start` on, with labels and conditions that are used."""
    return data_lib.Batches(
        used(images, config),
        batch_size=config.training.batch_size,
        seed=config.seed,
        flip=config.data.random_flip,
        dequantize=config.data.uniform_dequantization,
        codec=codec.build(config.data),
        condition_codec=build_condition(config),
        missing=config.data.missing == "mask",
        exchangeable=config.data.exchangeable,
        start_step=start,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def stack_batches(batches: Iterator[dict[str, Any]], k: int, mesh: Any) -> Batch:
    """The next k batches as device arrays [k, b, ...]."""
    several = [next(batches) for _ in range(k)]
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *several)
    return sharding.shard_batch(stacked, mesh, axis=1)
