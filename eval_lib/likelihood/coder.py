"""Latent codes of many images along the probability flow, in batches over all devices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float
from tqdm import tqdm

from data_lib import Codec
from eval_lib.likelihood.estimators import build_flow, smallest_time
from eval_lib.likelihood.flow import Encoded, ProbabilityFlow
from runtime_lib import batches, sharding
from sde_lib import Guidance, Score
from sde_lib.base import Number
from sde_lib.condition import Condition


@jax.jit
def encode_batch(flow: ProbabilityFlow, score: Score, x: Array, eps: Number) -> Encoded:
    """`flow.encode` in one compiled program; evaluations of the network."""
    return _of_network(score, flow.encode(score, x, eps))


@jax.jit
def decode_batch(flow: ProbabilityFlow, score: Score, z: Array, eps: Number) -> Encoded:
    """`flow.decode` in one compiled program; evaluations of the network."""
    return _of_network(score, flow.decode(score, z, eps))


def _of_network(score: Score, found: Encoded) -> Encoded:
    return replace(found, evaluations=found.evaluations * score.evaluations)


@dataclass(frozen=True)
class Coder:
    """Encoder of images and decoder of codes, in batches over all devices; arrays on the host.

    Images are as the codec takes them; codes have the prior's standard deviation. The flow is that
    of the score under `guidance`; it begins at `eps`. A batch has `size` images at most.
    """

    score: Score
    guidance: Guidance
    flow: ProbabilityFlow
    codec: Codec
    eps: Number
    size: int

    def _batches(
        self, run: Any, values: Float[np.ndarray, "n *d"], condition: Condition
    ) -> tuple[np.ndarray, np.ndarray]:
        mesh = sharding.mesh_of(self.score)
        total, placed = len(values), sharding.on_mesh(self.score, mesh)
        size = batches.even(total, self.size)
        put = lambda x: sharding.distribute(x, mesh)
        outputs, evaluations = [], []
        for first in tqdm(range(0, total, size), unit="batch", desc="codes", disable=None):
            numbers, count = (
                batches.numbers(first, size, total, mesh.size),
                min(size, total - first),
            )
            own = jax.tree.map(lambda rows, n=numbers: put(rows[n]), condition)
            score = self.guidance(placed, own)
            done = run(self.flow, score, put(values[numbers]), self.eps)
            outputs.append(sharding.collect(done.z)[:count])
            evaluations.append(sharding.collect(done.evaluations)[:count])
        return np.concatenate(outputs), np.concatenate(evaluations)

    def encode(
        self, images: Float[np.ndarray, "n *d"], condition: Condition
    ) -> tuple[Float[np.ndarray, "n *d"], np.ndarray]:
        """(codes, evaluations [n])."""
        return self._batches(encode_batch, self.codec.encode(images).astype(np.float32), condition)

    def decode(
        self, codes: Float[np.ndarray, "n *d"], condition: Condition
    ) -> tuple[Float[np.ndarray, "n *d"], np.ndarray]:
        """(images, not clipped; evaluations [n])."""
        x, evaluations = self._batches(decode_batch, codes.astype(np.float32), condition)
        return self.codec.decode(x), evaluations


def build(config: Any, score: Score, guidance: Guidance, of: Codec) -> Coder:
    """The coder of a config's `eval` section, of data encoded by the codec `of`."""
    eps = smallest_time(config, score.sde)
    return Coder(score, guidance, build_flow(config), of, eps, config.eval.batch_size)
