"""The `data` section of a config, read once and checked."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from configs.defaults import FROM_DATA
from configs.shapes import shape_of
from data_lib.codec import PICTURES
from data_lib.levels import Range, check_range, text
from data_lib.pictures import FILTERS

MISSING = ("refuse", "mask")
"""Ways of data.missing."""


@dataclass(frozen=True)
class DataConfig:
    """Settings of the `data` section for the sources; keys as the user writes them.

    dataset: a name in `sources.SOURCES`, or one of score_sde such as 'CIFAR10'.
    image_size: height and width in pixels; pictures are cropped and resized to it.
    num_channels: 1 (grey) or 3 (RGB).
    shape: shape of one example, () for a square picture; (0,): as the data have it.
    codec: name of the codec, 'levels' for gray levels.
    missing: 'refuse' NaN, or 'mask' them.
    condition: shape of one condition; (): as the data have it.
    range: values of black and white in files; None (in the section: ()): given by their type.
    uniform_dequantization: only checked here (continuous data cannot be dequantized).
    data_dir: directory of tensorflow-datasets ('' for its own default), folder of pictures, or
        file of arrays or a table.
    tfds_name: name, with /config if any, for dataset='tfds'.
    test_fraction: share of the images that is held out if the data has no split of its own.
    crop: side of the central square of a picture that is kept, before resizing; 0: the largest
        part of the shape's proportions. CelebA is by custom cropped to 140.
    filter: filter of resizing, 'bilinear' or 'bicubic', both antialiased.
    cache: keep decoded pictures beside the data, so that the next start is quick.
    columns: names of a table's columns that are the data, separated by commas; '': all others.
    condition_columns: names of those that are the condition.
    label_column: name of the one that tells the class.
    task: name of a simulator, or of a file TASK.npz.
    simulations: number of simulated examples; 0: the default.
    words: the vocabulary of captions; '': they are not turned into conditions.
    glyphs, colours, draws, left_out: see `glyphs.load`.
    """

    dataset: str
    image_size: int
    num_channels: int
    shape: tuple[int, ...] = ()
    codec: str = "levels"
    missing: str = "refuse"
    condition: tuple[int, ...] = ()
    range: Range | None = None
    uniform_dequantization: bool = False
    data_dir: str = ""
    tfds_name: str = ""
    test_fraction: float = 0.1
    crop: int = 0
    filter: str = "bilinear"
    cache: bool = True
    columns: str = ""
    condition_columns: str = ""
    label_column: str = ""
    task: str = "two_moons"
    simulations: int = 0
    words: str = ""
    glyphs: str = "latin"
    colours: str = "none"
    draws: int = 32
    left_out: float = 0.1

    @classmethod
    def from_section(cls, section: Any) -> "DataConfig":
        """Read the attributes of `section`; ValueError for a missing, mistyped or bad one."""
        fields = dataclasses.fields(cls)
        for field in fields:
            if field.default is dataclasses.MISSING and not hasattr(section, field.name):
                raise ValueError(f"data.{field.name} must be set")
        values: dict[str, Any] = {f.name: getattr(section, f.name, f.default) for f in fields}
        for key, value in values.items():
            _check_type(key, value, _TYPES[key])
        config = cls(**values | {"range": check_range(values["range"] or (), "data.range")})
        _check_range(config)
        return config

    @property
    def of_levels(self) -> bool:
        """True for gray levels, False for numbers that are taken as they are."""
        return self.codec in PICTURES

    @property
    def example(self) -> tuple[int, ...] | None:
        """Shape of one example; None: as the data have it."""
        if self.shape == FROM_DATA["data.shape"]:
            return None
        return shape_of(SimpleNamespace(data=self))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of pictures. ValueError for examples that are no pictures."""
        shape = self.example
        if shape is None or len(shape) != 3:
            raise ValueError(
                f"data.shape must be height, width, channels for data.dataset={self.dataset!r}, "
                f"got {self.shape}"
            )
        return shape[0], shape[1]

    @property
    def channels(self) -> int:
        """Channels of pictures, 1 (grey) or 3 (RGB)."""
        return (self.example or (0,))[-1]

    @property
    def path(self) -> Path:
        """`data_dir` with ~ expanded; ValueError for the home of an unknown user."""
        try:
            return Path(self.data_dir).expanduser()
        except RuntimeError as error:
            raise ValueError(f"data.data_dir must exist, got {self.data_dir!r}") from error

    @property
    def form(self) -> str:
        """Format of the decoded pictures as part of a file's name: '64x64x3-crop140-bicubic'."""
        parts = ["x".join(map(str, (*self.size, self.channels)))]
        parts += [f"crop{self.crop}"] if self.crop else []
        parts += [self.filter] if self.filter != "bilinear" else []
        parts += [f"range{text(self.range).replace(',', '_')}"] if self.range else []
        return "-".join(parts)

    def require_path(self) -> Path:
        """`path`; ValueError if data_dir is empty or does not exist."""
        if not self.data_dir:
            raise ValueError(f"data.data_dir must be set for data.dataset={self.dataset!r}")
        if not self.path.exists():
            raise ValueError(f"data.data_dir must exist, got {self.data_dir!r}")
        return self.path


def check_pictures(config: DataConfig) -> None:
    """Raise ValueError unless pictures can be decoded to the config's shape."""
    if config.crop and config.size[0] != config.size[1]:
        raise ValueError(
            f"data.crop must be 0 for pictures of {config.size[0]}x{config.size[1]}, of whose "
            "proportions the largest part is taken"
        )
    check_colours(config)


def check_colours(config: DataConfig) -> None:
    """Raise ValueError unless the config's shape is that of pictures in grey or colour."""
    if config.size and config.channels not in (1, 3):
        raise ValueError(f"data.num_channels must be 1 or 3, got {config.channels}")


_TYPES: dict[str, tuple[type, ...]] = {
    "dataset": (str,),
    "image_size": (int,),
    "num_channels": (int,),
    "shape": (tuple, list),
    "codec": (str,),
    "missing": (str,),
    "condition": (tuple, list),
    "range": (tuple, list, type(None)),
    "uniform_dequantization": (bool,),
    "data_dir": (str,),
    "tfds_name": (str,),
    "test_fraction": (float, int),
    "crop": (int,),
    "filter": (str,),
    "cache": (bool,),
    "columns": (str,),
    "condition_columns": (str,),
    "label_column": (str,),
    "task": (str,),
    "simulations": (int,),
    "words": (str,),
    "glyphs": (str,),
    "colours": (str,),
    "draws": (int,),
    "left_out": (float, int),
}


def _check_type(key: str, value: Any, types: tuple[type, ...]) -> None:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ValueError(f"data.{key} must be of type {types[0].__name__}, got {value!r}")


def _check_range(config: DataConfig) -> None:
    if config.image_size < 1:
        raise ValueError(f"data.image_size must be positive, got {config.image_size}")
    if not 0 < config.test_fraction < 1:
        raise ValueError(f"data.test_fraction must lie between 0 and 1, got {config.test_fraction}")
    if config.crop < 0:
        raise ValueError(f"data.crop must be zero or positive, got {config.crop}")
    if config.simulations < 0:
        raise ValueError(f"data.simulations must be zero or positive, got {config.simulations}")
    if config.filter not in FILTERS:
        raise ValueError(f"data.filter must be {' or '.join(FILTERS)}, got {config.filter!r}")
