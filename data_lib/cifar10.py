"""CIFAR-10 prepared for tensorflow-datasets without TensorFlow.

The stock builder needs TensorFlow to unpack the archive, to read its files and to encode the
pictures. This one reads the members of the archive in memory and gives Pillow images; the rest
is the stock builder, so that the dataset is the same in name, version, content and order.
"""

import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tensorflow_datasets.image_classification import cifar

from data_lib.base import Log
from data_lib.download import Archive, obtain

ARCHIVE = Archive(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
_FOLDER = "cifar-10-batches-bin"
_CLASSES = "batches.meta.txt"
_FILES = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
_RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes
_LARGEST_FILE = 10_000 * _RECORD


def prepare(data_dir: Path, log: Log) -> None:
    """Write the dataset, in array_record, into `data_dir`, atomically as tensorflow-datasets does.

    Raises ValueError if the archive cannot be obtained or is not CIFAR-10.
    """
    members = read_archive(obtain(ARCHIVE, data_dir, log))
    builder = Cifar10(members=members, data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare()


class Cifar10(cifar.Cifar10, skip_registration=True):  # type: ignore[call-arg]
    """The stock builder, fed with the members of the archive instead of a folder of them."""

    def __init__(self, *, members: dict[str, bytes], **kwargs: Any) -> None:
        self._members = members
        super().__init__(**kwargs)

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
        del dl_manager
        names = self._members[_CLASSES].decode().split("\n")
        self.info.features["label"].names = [name for name in names if name]
        return {split: self._generate_examples(f"{split}_", _FILES[split]) for split in _FILES}

    def _generate_examples(
        self, split_prefix: str, filepaths: Iterable[str]
    ) -> Iterator[tuple[int, dict]]:
        index = 0
        for path in filepaths:
            for label, pixels in zip(*parse(self._members[path], path), strict=True):
                image = Image.fromarray(pixels)
                yield index, {"id": f"{split_prefix}{index:05d}", "image": image, "label": label}
                index += 1


def read_archive(path: Path) -> dict[str, bytes]:
    """The files of CIFAR-10 by name; nothing is unpacked to disk, whatever the archive holds."""
    wanted = {f"{_FOLDER}/{name}": name for name in (_CLASSES, *_FILES["train"], *_FILES["test"])}
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.name in wanted and member.isfile() and member.size <= _LARGEST_FILE:
                    file = archive.extractfile(member)
                    members[wanted[member.name]] = file.read() if file else b""
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"{path} must be the archive of CIFAR-10: {error}") from error
    if missing := sorted(set(wanted.values()) - set(members)):
        raise ValueError(f"{path} must be the archive of CIFAR-10, it lacks {', '.join(missing)}")
    return members


def parse(
    content: bytes, name: str
) -> tuple[UInt8[np.ndarray, " n"], UInt8[np.ndarray, "n 32 32 3"]]:
    """Labels and pixels of one .bin file: records of a label and three planes, row by row."""
    if not content or len(content) % _RECORD:
        raise ValueError(f"{name} must be records of {_RECORD} bytes, it has {len(content)} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    return records[:, 0], records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
