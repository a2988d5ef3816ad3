"""Sound files of every format that strangers send, small, to be changed by `benchmarks.fuzz`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image
from safetensors.numpy import save

from tests.models.pretrained import writing

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"


class Seed(NamedTuple):
    """A sound file.

    reader: its name in `benchmarks.watched.READERS`.
    mutation: the entry of `benchmarks.fuzz_changes.FORMATS` that knows its format.
    file: its path: the last part is changed; the reader is given the folders before it.
    data: its content.
    beside: the other files in the folder.
    """

    reader: str
    mutation: str
    file: str
    data: bytes
    beside: dict[str, bytes] = {}


def _made(write: Callable[[Path], object], folder: Path) -> bytes:
    path = folder / "seed"
    write(path)
    data = path.read_bytes()
    path.unlink()
    return data


def weights() -> dict[str, np.ndarray]:
    """Weights of a small NCSN++, by PyTorch's names."""
    options = json.loads((GOLDEN / "options" / "options.json").read_text())
    case = min(options.values(), key=lambda each: len(each["weights"]))
    random = np.random.default_rng(0)
    return {f"all_modules.{name}": random.standard_normal(shape, np.float32)
            for name, shape in case["weights"].items()}  # fmt: skip


def checkpoints(folder: Path) -> dict[str, Seed]:
    """Published formats of models."""
    from tests.models.pretrained.score_sde.test_score_sde_files import IN_JAX, jax_tree, write_jax

    content = writing.checkpoint(weights())
    tree = {"Dense_0": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3, np.float32)}}
    foreign = GOLDEN / "foreign"
    settings = json.dumps({"model.name": "ncsnpp", "model.ch_mult": [1, 2], "model.nf": 8,
                           "model.num_res_blocks": 1})  # fmt: skip
    texts = {"format": "score-sde-jax", "version": "1", "step": "7", "weights": "raw,ema",
             "config": settings}  # fmt: skip
    ours = {f"{kind}/stem_{k}/kernel": np.ones((3, k), np.float32)
            for kind in ("raw", "ema") for k in range(64)}  # fmt: skip
    packed = _made(lambda path: write_jax(path, tree), folder)
    trees = [jax_tree(case) for case in IN_JAX]
    smallest = min(trees, key=lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree)))
    network = _made(lambda path: write_jax(path, smallest), folder)
    alone = _made(lambda path: writing.write_zip(path, {"w": writing.saved(
        np.ones((2, 3)), "0")}), folder)  # fmt: skip
    zipped = _made(lambda path: writing.write_zip(path, content, byteorder=b"little"), folder)
    return {
        "torch zip": Seed("checkpoint", "torch zip", "a.pth", zipped),
        "torch zip, containers": Seed(
            "containers", "torch zip", "a.pth", (foreign / "zip.pth").read_bytes()),
        "torch stream": Seed("checkpoint", "torch stream", "a.pth", writing.legacy(content)),
        "torch stream, containers": Seed(
            "containers", "torch stream", "a.pth", (foreign / "legacy.pth").read_bytes()),
        "state_dict": Seed("features", "torch zip", "a.pth", alone),
        "EDM snapshot, containers": Seed(
            "containers", "snapshot", "a.pkl", (foreign / "snapshot_4.pkl").read_bytes()),
        "EDM snapshot, protocol 2": Seed(
            "containers", "snapshot", "a.pkl", (foreign / "snapshot_2.pkl").read_bytes()),
        "EDM snapshot": Seed("checkpoint", "snapshot", "a.pkl", snapshot()),
        "msgpack": Seed("checkpoint", "msgpack", "checkpoint_8", network),
        "msgpack, containers": Seed("packs", "msgpack", "checkpoint_8", packed),
        "safetensors": Seed("checkpoint", "safetensors", "a.safetensors", save(ours, texts)),
        "safetensors, features": Seed("features", "safetensors", "a.safetensors", save(ours, {})),
    }  # fmt: skip


def snapshot() -> bytes:
    """A snapshot of EDM's whose objects are those of a network of one level."""
    from tests.untrusted import hostile

    text = hostile.text
    given = {"img_resolution": 8, "in_channels": 1, "out_channels": 1, "num_blocks": 1}
    items = b"".join(text(k) + b"K%c" % v for k, v in given.items())
    items += text("channel_mult") + b"](K\x01e"
    stored = writing.legacy(writing.saved(np.ones((2, 3)), "0"))
    tensor = hostile.call(hostile.name("torch.storage", "_load_from_bytes"),
                       b"B" + len(stored).to_bytes(4, "little") + stored)  # fmt: skip
    empty = text("_buffers") + b"}" + text("_modules") + b"}"
    network = hostile.persistent(text("class_name") + text("SongUNet"), hostile.state(
        empty, text("_init_kwargs") + b"}(" + items + b"u",
        text("_parameters") + b"}(" + b"".join(
            text(f"w{k}") + tensor for k in range(40)) + b"u"))  # fmt: skip
    outer = b"}(" + text("img_resolution") + b"K\x08" + text("img_channels") + b"K\x01u"
    whole = hostile.persistent(text("class_name") + text("EDMPrecond"), hostile.state(
        text("_parameters") + b"}" + text("_buffers") + b"}",
        text("_init_kwargs") + outer,
        text("_modules") + b"}" + text("model") + network + b"s"))  # fmt: skip
    return hostile.LOAD + hostile.ema(whole) + b"."


UNREAD = ("ve/model_index.json", "ve/unet_ema/config.json")
"""Files of diffusers that contain nothing that is needed."""


def directories() -> dict[str, Seed]:
    """diffusers' directories, one file of each changed."""
    files = {str(path.relative_to(GOLDEN / "diffusers")): path.read_bytes()
             for path in (GOLDEN / "diffusers").rglob("*") if path.is_file()}  # fmt: skip
    kinds = {"json": "json", "safetensors": "safetensors", "bin": "torch zip"}
    return {
        f"diffusers {name}": Seed("checkpoint", kinds[name.split(".")[-1]], name, data, {
            other: content for other, content in files.items()
            if other.split("/")[0] == name.split("/")[0]})
        for name, data in files.items() if name.split(".")[-1] in kinds and name not in UNREAD
    }  # fmt: skip


def arrays() -> dict[str, Seed]:
    """NumPy's files, and reference statistics among them."""
    random = np.random.default_rng(0)
    info = {"extractor": "pixels", "dataset": "digits", "split": "test", "count": 50,
            "sha256": "0" * 64}  # fmt: skip
    pool = random.standard_normal((50, 4))
    moments = {"mu": pool.mean(0), "sigma": np.cov(pool.T)}
    stats = {**moments, "pool": pool.astype(np.float32), "info": np.asarray(json.dumps(info))}
    images = {"images": random.integers(0, 255, (6, 8, 8, 1), np.uint8), "labels": np.arange(6)}

    def save(how: Callable[..., None], **named: np.ndarray) -> bytes:
        file = io.BytesIO()
        how(file, **named)
        return file.getvalue()

    return {
        "npz": Seed("arrays", "npz", "a.npz", save(np.savez, **images)),
        "npz, compressed": Seed("arrays", "npz", "a.npz", save(np.savez_compressed, **images)),
        "npy": Seed("arrays", "npy", "a.npy", save(np.save, arr=pool)),
        "features, npz": Seed("features", "npz", "a.npz", save(np.savez, **moments)),
        "statistics": Seed("statistics", "npz", "a.npz", save(np.savez, **stats)),
        "statistics of EDM": Seed("statistics", "npz", "a.npz", save(np.savez, **moments)),
        "activations": Seed("statistics", "npz", "a.npz", save(np.savez_compressed, pool_3=pool)),
    }  # fmt: skip


def tables(folder: Path) -> dict[str, Seed]:
    """CSV and Parquet."""
    import pyarrow
    from pyarrow import csv, parquet

    k = np.arange(60)
    found = pyarrow.table({"a": k, "b": pyarrow.array([None, *(k[1:] / 7)]),
                           "kind": pyarrow.array(["x", "yy", "z"] * 20)})  # fmt: skip
    written = lambda path: parquet.write_table(found, path, row_group_size=25)
    plain = lambda path: parquet.write_table(
        found, path, compression="none", write_page_checksum=True
    )
    return {
        "csv": Seed("columns", "picture", "a.csv", _made(
            lambda path: csv.write_csv(found, path), folder)),
        "parquet": Seed("columns", "picture", "a.parquet", _made(written, folder)),
        "parquet, plain": Seed("columns", "picture", "a.parquet", _made(plain, folder)),
    }  # fmt: skip


def pictures() -> dict[str, Seed]:
    """A small picture of every format, plain and with the optional parts of the format."""
    colours = np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8)
    image = Image.fromarray(colours)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "described"
    frames = {"save_all": True}
    ways: dict[str, tuple[Image.Image, str, dict]] = {
        "png": (image, "PNG", {"exif": exif, "icc_profile": bytes(200)}),
        "png, palette": (image.convert("P"), "PNG", {"transparency": 3}),
        "png, 16 bits": (Image.fromarray(colours[..., 0].astype(np.uint16) * 257), "PNG", {}),
        "png, animated": (image, "PNG", frames),
        "jpeg": (image, "JPEG", {"exif": exif, "icc_profile": bytes(200)}),
        "jpeg, progressive": (image, "JPEG", {"progressive": True}),
        "jpeg, CMYK": (image.convert("CMYK"), "JPEG", {}),
        "mpo": (image, "MPO", frames),
        "gif": (image, "GIF", frames | {"comment": b"hello", "loop": 1}),
        "webp": (image, "WEBP", {"exif": exif}),
        "webp, lossless": (image.convert("RGBA"), "WEBP", {"lossless": True}),
        "webp, animated": (image, "WEBP", frames),
        "bmp": (image, "BMP", {}),
        "bmp, palette": (image.convert("P"), "BMP", {}),
        "ppm": (image, "PPM", {}),
        "tiff": (image, "TIFF", {}),
        "tiff, frames": (image, "TIFF", frames),
        **{f"tiff, {kind}": (image, "TIFF", {"compression": kind})
           for kind in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")},
        "tiff, float": (Image.fromarray(colours[..., 0] / np.float32(255)), "TIFF", {}),
        "tiff, 1 bit": (image.convert("1"), "TIFF", {"compression": "group4"}),
    }  # fmt: skip
    found = {}
    for name, (picture, kind, options) in ways.items():
        file = io.BytesIO()
        # An image that was saved keeps what its encoder was told.
        others = [picture.rotate(90), picture.copy()] if options.get("save_all") else []
        picture.copy().save(file, kind, append_images=others, **options)
        mutation = "png" if kind == "PNG" else "picture"
        found[name] = Seed("picture", mutation, "a.png", file.getvalue())
    return found | {"ppm, text": Seed("picture", "picture", "a.ppm",
                                      b"P3 # a comment\n2 2\n255\n" + b"1 2 3\n" * 4)}  # fmt: skip


def seeds(folder: Path) -> dict[str, Seed]:
    """All seeds by name; `folder` is used temporarily."""
    return {**checkpoints(folder), **directories(), **arrays(),
            **tables(folder), **pictures()}  # fmt: skip
