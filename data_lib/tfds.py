"""Any image dataset of tensorflow-datasets, by name; read without TensorFlow."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from configs.names import did_you_mean
from data_lib.base import Images, Log, Splits, hold_out, patient
from data_lib.cache import cached
from data_lib.config import DataConfig
from data_lib.download import lock
from data_lib.members import HELD_OUT
from data_lib.pictures import fit, from_array

_FORMAT = "array_record"
_CHUNK = 256


def _prepare_cifar10(builder: Any, data_dir: Path, log: Log) -> None:
    from data_lib import cifar10

    cifar10.prepare(data_dir, log)


def _prepare_stock(builder: Any, data_dir: Path, log: Log) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"data.tfds_name={builder.name!r} must be prepared once with TensorFlow, which is not "
            'installed: pip install "score-sde-jax[tfds]" (in a checkout: pip install -e ".[tfds]")'
        )
    log(f"tensorflow-datasets prepares {builder.name} in {data_dir}")
    try:
        builder.download_and_prepare(file_format=_FORMAT)
    except Exception as error:  # it comes from any of a thousand builders
        raise ValueError(
            f"tensorflow-datasets could not prepare {builder.name}: {_one_line(error)}"
        ) from error


# Datasets that are prepared here without TensorFlow; all others by their stock builder.
PREPARERS: dict[str, Callable[[Any, Path, Log], None]] = {"cifar10": _prepare_cifar10}


def load(config: DataConfig, log: Log) -> Splits:
    """The dataset data.tfds_name in the directory data.data_dir, prepared if necessary.

    An empty data_dir is that of tensorflow-datasets (TFDS_DATA_DIR or ~/tensorflow_datasets).
    The held-out images are its split 'test', else 'validation', else data.test_fraction of 'train'
    (see `hold_out`). Pictures are cropped and resized by `pictures.fit`.

    Raises ValueError for an unknown name, a dataset without pictures, one stored in another
    format than array_record or damaged, and if its preparation needs what is not installed.
    """
    builder = _builder(config)
    root = Path(builder.data_dir).parents[builder.info.full_name.count("/")]
    if not _is_prepared(builder):
        _prepare(builder, root, log)
        builder = _builder(config)
    left = [split for split in builder.info.splits if split not in ("train", _held_out(builder))]
    if left:
        log(f"{builder.info.full_name}: {', '.join(left)} not used, neither to train on nor as "
            "held-out images")  # fmt: skip

    def decode() -> Splits:
        try:
            return _decode(builder, config, log)
        except (RuntimeError, OSError) as error:
            raise ValueError(
                f"{builder.data_dir} is damaged, delete it to prepare {builder.name} again: "
                f"{_one_line(error)}"
            ) from error

    if not config.cache:
        return decode()
    name = builder.info.full_name.replace("/", "-")
    key = _fingerprint(builder, f"{config.form} {config.test_fraction}")
    return cached(root / "decoded" / f"{name}-{config.form}.npz", key, decode, log)


def _builder(config: DataConfig) -> Any:
    import tensorflow_datasets as tfds

    if not config.tfds_name:
        raise ValueError("data.tfds_name must be set for data.dataset='tfds', for example cifar10")
    data_dir = str(config.path) if config.data_dir else None
    try:
        return tfds.builder(config.tfds_name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        raise ValueError(
            "data.tfds_name must be a dataset of tensorflow-datasets, got "
            f"{config.tfds_name!r}{did_you_mean(config.tfds_name, known)}"
        ) from error
    except (ValueError, OSError) as error:
        raise ValueError(
            f"data.tfds_name={config.tfds_name!r} cannot be opened: {_one_line(error)}"
        ) from error


def _is_prepared(builder: Any) -> bool:
    return Path(builder.data_dir).exists()  # it gets its name when it is complete


def _prepare(builder: Any, root: Path, log: Log) -> None:
    try:
        with lock(root / f"{builder.name}.lock"):
            if not _is_prepared(builder):  # another process may have done it meanwhile
                PREPARERS.get(builder.name, _prepare_stock)(builder, root, log)
    except OSError as error:
        raise ValueError(
            f"{builder.name} cannot be prepared in {root}: {_one_line(error)}"
        ) from error


def _decode(builder: Any, config: DataConfig, log: Log) -> Splits:
    name, splits = builder.info.full_name, builder.info.splits
    if "train" not in splits:
        raise ValueError(f"data.tfds_name={name!r} must have a split 'train', it has {[*splits]}")
    train = _images(builder, "train", config, log)
    if not (held_out := _held_out(builder)):
        return hold_out(train, config.test_fraction, name)
    return Splits(train, _images(builder, held_out, config, log), name)


def _held_out(builder: Any) -> str | None:
    return next((split for split in HELD_OUT if split in builder.info.splits), None)


def _images(builder: Any, split: str, config: DataConfig, log: Log) -> Images:
    key = _image_key(builder.info.features, builder.name)
    source = _source(builder, split)
    shape = (len(source), *config.size, config.channels)
    log(f"decoding {len(source)} pictures of {builder.name}, split {split}")
    tell = patient(log)
    pixels = np.empty(shape, np.uint8)
    labels = np.empty(len(source), np.int32) if _has_classes(builder.info.features) else None
    for start in range(0, len(source), _CHUNK):
        indices = range(start, min(start + _CHUNK, len(source)))
        for index, example in zip(indices, source.__getitems__(indices), strict=True):
            picture = from_array(example[key])
            pixels[index] = fit(
                picture,
                config.size,
                config.channels,
                crop=config.crop,
                filter=config.filter,
            )
            if labels is not None:
                labels[index] = example["label"]
        tell(f"decoded {start} of {len(source)} pictures")
    return Images(pixels, labels, 256)


def _source(builder: Any, split: str) -> Any:
    try:
        return builder.as_data_source(split)
    except NotImplementedError as error:
        raise ValueError(
            f"{builder.data_dir} is stored as {builder.info.file_format.value}, but only "
            f"{_FORMAT} is read: set data.data_dir to another directory, or delete that one"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _image_key(features: Any, name: str) -> str:
    import tensorflow_datasets as tfds

    keys = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
    if not keys or features[keys[0]].np_dtype != np.uint8:
        raise ValueError(
            f"data.tfds_name={name!r} must have 8-bit pictures, its features are {[*features]}"
        )
    return "image" if "image" in keys else keys[0]


def _has_classes(features: Any) -> bool:
    import tensorflow_datasets as tfds

    return "label" in features and isinstance(features["label"], tfds.features.ClassLabel)


def _fingerprint(builder: Any, settings: str) -> str:
    splits = builder.info.splits.items()
    sizes = ", ".join(f"{name} {info.num_examples} {info.num_bytes}" for name, info in splits)
    return f"{builder.info.full_name}: {sizes}: {settings}"
