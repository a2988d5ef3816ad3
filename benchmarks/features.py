"""Our feature networks against public PyTorch ones: how far features differ, and how fast they are.

    python -m benchmarks.features --torch-fidelity CHECKOUT --pytorch-fid CHECKOUT \
        --dinov2 CHECKOUT --peer-python PYTHON_WITH_TORCH

Batches are shared out among `--cpu-devices` devices where they are timed, as evaluation does it.
All have the same random weights (`random_weights.py`), normalizations included, of which nothing is
downloaded, and see the same images. An error is the largest difference over the root mean square of
the peer's features. Times are medians of `--rounds` turns taken in one run, all with the same
threads; PyTorch's is taken with its own layout and with channels last.

`--write-golden DIRECTORY` writes what the peers see in the images of the tests instead.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import random_weights
from benchmarks.peer import Driver, PeerError
from benchmarks.timing import Timing, summary, take_turns, timed
from models.features import FeatureNetwork, dinov2, inception
from runtime_lib import sharding

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A network of ours and the peer with which it has to agree.

    Attributes:
      peer: a key of `features_driver.NETWORKS`.
      shapes: shapes of the state dict, in PyTorch's layout.
      ours: the network with these weights.
      sizes: heights and widths of the images to compare on.
      timed: height and width of the images for timing, None for no timing.
      size: arguments of the peer that set its size.
    """

    peer: str
    shapes: Mapping[str, tuple[int, ...]]
    ours: Any
    sizes: Sequence[tuple[int, int]]
    timed: tuple[int, int] | None
    size: dict[str, Any] = field(default_factory=dict)


PICTURES = (32, 32), (64, 64), (299, 299), (40, 57), (300, 331)


def cases() -> dict[str, Case]:
    """All comparisons, by name."""
    shapes = random_weights.torch_shapes(inception.in_file())
    transformers = {"tiny": dinov2.Size(128, 2)} | {v: k for k, v in dinov2.PUBLISHED.items()}
    half = lambda weights: inception.of_weights(weights, "half_pixel")
    return {
        "inception, tf1": Case(
            "torch-fidelity", shapes, inception.of_weights, PICTURES, (32, 32)
        ),
        "inception, half_pixel": Case("pytorch-fid", shapes, half, PICTURES, None),
    } | {
        f"dinov2, {name}": Case(
            "dinov2", random_weights.torch_shapes(dinov2.in_file(size)) | {
                "mask_token": (1, size.width)}, dinov2.of_weights, PICTURES, (64, 64),
            {"embed_dim": size.width, "depth": size.depth, "num_heads": size.heads},
        ) for name, size in transformers.items()
    }  # fmt: skip


class Party:
    """A peer with a case's weights, in a process of its own."""

    def __init__(self, case: Case, options: argparse.Namespace, folder: Path, last: bool):
        spec = {
            "network": case.peer,
            "checkouts": {k: str(v.resolve()) for k, v in options.checkouts.items()},
            "weights": str(folder / "weights.npz"),
            "channels_last": last,
            "threads": len(os.sched_getaffinity(0)),
            "size": case.size,
        }
        self.driver = Driver(options.peer_python, "features_driver.py", json.dumps(spec))
        self.folder = folder

    def features(self, pixels: np.ndarray) -> Arrays:
        """Features by name."""
        np.save(self.folder / "images.npy", pixels)
        out = self.folder / "features.npz"
        self.driver.ask(f"features {self.folder / 'images.npy'} {out}")
        with np.load(out) as found:
            return dict(found)

    def time(self, pixels: np.ndarray) -> Timing:
        """Seconds per image."""
        np.save(self.folder / "images.npy", pixels)
        taken = self.driver.ask(f"time {self.folder / 'images.npy'}")
        return Timing(taken["wall"] / len(pixels), taken["cpu"] / len(pixels), len(pixels))


@jax.jit
def compiled(network: FeatureNetwork, pixels: jax.Array) -> dict[str, Any]:
    """The features of pixel values by name, for all networks."""
    found = network(pixels.astype(jnp.float32) / 255)._asdict()
    if hasattr(network, "biased"):
        found["biased"] = network.biased(found["logits"])
    return {name: value for name, value in found.items() if value is not None}


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, in units of the root mean square of `wanted`."""
    return float(np.abs(found - wanted).max() / np.sqrt(np.mean(wanted**2)))


def compare(case: Case, network: FeatureNetwork, peer: Party) -> Iterable[str]:
    """A line for each size of images and kind of features."""
    for height, width in case.sizes:
        pixels = random_weights.images(2, height, width)
        theirs, ours = peer.features(pixels), compiled(network, pixels)
        worst = {name: error(np.asarray(ours[name]), theirs[name]) for name in theirs}
        figures = "  ".join(f"{name} {value:.1e}" for name, value in worst.items())
        yield f"  {height:3d} x {width:3d}   {figures}"


def race(case: Case, network: FeatureNetwork, parties: Mapping[str, Party], batch: int,
         rounds: int) -> Iterable[str]:  # fmt: skip
    """A line for each party: images per second, and CPU seconds per image."""
    assert case.timed is not None
    pixels = random_weights.images(batch, *case.timed)
    mesh = sharding.device_mesh()
    everywhere = sharding.on_mesh(network, mesh)

    def ours() -> Timing:
        share = sharding.shard_batch(pixels, mesh)
        return timed(lambda: jax.block_until_ready(compiled(everywhere, share)), batch)

    works = {"ours": ours}
    for name, party in parties.items():
        works[name] = lambda party=party: party.time(pixels)
    taken = take_turns(works, rounds + 1)
    for name, timings in taken.items():
        medians = summary(timings)
        yield (f"  {name:32s} {1 / medians['wall']:7.2f} images/s  {medians['cpu']:.3f} CPU s/image"
               f"  first call {medians['first_call_beyond']:.1f} s longer")  # fmt: skip


def report(name: str, case: Case, options: argparse.Namespace) -> None:
    """Print one case."""
    weights = random_weights.weights(case.shapes)
    network = case.ours(weights)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        np.savez(folder / "weights.npz", **weights)
        layouts = {"": False} | ({", channels last": True} if case.timed else {})
        parties = {}
        for layout, last in layouts.items():
            parties[case.peer + layout] = party = Party(case, options, folder, last)
            stack.enter_context(party.driver)
        print(f"{name}, against {case.peer}: largest difference / root mean square")
        for line in compare(case, network, parties[case.peer]):
            print(line, flush=True)
        if case.timed and options.rounds:
            print(f"{options.batch} images of {case.timed[0]} x {case.timed[1]}")
            for line in race(case, network, parties, options.batch, options.rounds):
                print(line, flush=True)


# Golden numbers ----------------------------------------------------------------------------------

GOLDEN = {"inception, tf1": (24, 40), "inception, half_pixel": (24, 40), "dinov2, tiny": (24, 40)}
"""Cases whose peer features are stored with the tests, and the size of their one image."""


def write_golden(name: str, case: Case, options: argparse.Namespace) -> None:
    """Write the peer's features to NAME.npz; the tests draw images and weights again."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        np.savez(folder / "weights.npz", **random_weights.weights(case.shapes))
        party = Party(case, options, folder, False)
        stack.enter_context(party.driver)
        path = options.write_golden / f"{name.replace(', ', '_')}.npz"
        np.savez_compressed(path, **party.features(random_weights.images(1, *GOLDEN[name])))
        print(f"wrote {path}")


# Command line ------------------------------------------------------------------------------------

CHECKOUTS = {
    "torch-fidelity": "torch_fidelity/feature_extractor_inceptionv3.py",
    "pytorch-fid": "src/pytorch_fid/inception.py",
    "dinov2": "dinov2/models/vision_transformer.py",
}
"""Peers and a file that a checkout of each contains."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; ValueError for what cannot be used."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw, allow_abbrev=False)
    for name in CHECKOUTS:
        parser.add_argument(f"--{name}", type=Path, help="a checkout of its repository")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter with torch")
    parser.add_argument("--batch", type=int, default=16, help="images at a time in timings")
    parser.add_argument("--rounds", type=int, default=5, help="turns of timing; 0: no timing")
    parser.add_argument("--only", default="", help="run only cases whose names contain this")
    parser.add_argument("--write-golden", type=Path, help="folder to write the tests' numbers to")
    options = parser.parse_args(arguments)
    given = {name: getattr(options, name.replace("-", "_")) for name in CHECKOUTS}
    options.checkouts = {name: path for name, path in given.items() if path}
    for name, path in options.checkouts.items():
        if not (path / CHECKOUTS[name]).is_file():
            raise ValueError(f"--{name} must be a checkout of {name}, got {path}")
    return options


def run(options: argparse.Namespace) -> None:
    """Run every case whose peer is available."""
    print(f"{jax.device_count()} x {jax.devices()[0].device_kind}, "
          f"{len(os.sched_getaffinity(0))} threads, jax {jax.__version__}")  # fmt: skip
    for name, case in cases().items():
        if case.peer not in options.checkouts or options.only not in name:
            continue
        if options.write_golden is None:
            report(name, case, options)
        elif name in GOLDEN:
            write_golden(name, case, options)


def main(arguments: Sequence[str]) -> int:
    """Run, and turn errors of the user's making into one line and exit code 2."""
    try:
        run(parse(arguments))
    except (ValueError, OSError, PeerError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
