"""Small arrays updated together: hundreds of biases and scales as one vector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from models.layers.cpu.outline import outlined

SMALL = 2**14
"""Numbers in the smallest array that stays alone; also what `mesh.smallest` leaves undivided."""


class Together(NamedTuple):
    """Arrays in the place of a tree of parameters."""

    small: Array
    """[n], those of fewer than `SMALL` numbers end to end."""
    large: list[Array]


@outlined
def _joined(*arrays: Array) -> Array:
    return jnp.concatenate([x.ravel() for x in arrays])


@partial(outlined, static_argnames="shapes")
def _parted(vector: Array, shapes: tuple[tuple[int, ...], ...]) -> list[Array]:
    ends = list(accumulate(map(math.prod, shapes)))
    return [
        vector[end - math.prod(shape) : end].reshape(shape)
        for shape, end in zip(shapes, ends, strict=True)
    ]


@dataclass(frozen=True)
class Gathering:
    """From trees of one structure to few arrays and back.

    A network has hundreds of small arrays, each of which would be several kernels to compile, to
    load and to launch in an update of its own. What is elementwise, or a norm of all, does not care
    how numbers are divided among arrays; an optimizer that does (by layer, by rows and columns)
    must not be given gathered ones.
    """

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    small: tuple[bool, ...]

    @classmethod
    def of(cls, tree: Any) -> Gathering:
        """For trees like this one."""
        leaves, structure = jax.tree.flatten(tree)
        small = (x.size < SMALL and x.dtype == jnp.float32 for x in leaves)
        return cls(structure, tuple(x.shape for x in leaves), tuple(small))

    def gather(self, tree: Any) -> Any:
        """`tree` with `Together` in the place of every tree inside it that is like the one given
        to `of`."""
        pack = lambda part: self._gather(part) if self._alike(part) else part
        return jax.tree.map(pack, tree, is_leaf=self._alike)

    def scatter(self, tree: Any) -> Any:
        """The inverse of `gather`."""
        together = lambda part: isinstance(part, Together)
        unpack = lambda part: self._scatter(part) if together(part) else part
        return jax.tree.map(unpack, tree, is_leaf=together)

    def _alike(self, part: Any) -> bool:
        leaves, structure = jax.tree.flatten(part)
        return structure == self.structure and tuple(map(jnp.shape, leaves)) == self.shapes

    def _gather(self, tree: Any) -> Together:
        leaves = list(zip(jax.tree.leaves(tree), self.small, strict=True))
        small = [x for x, is_small in leaves if is_small]
        large = [x for x, is_small in leaves if not is_small]
        return Together(_joined(*small) if small else jnp.zeros(0), large)

    def _scatter(self, together: Together) -> Any:
        shapes = (s for s, is_small in zip(self.shapes, self.small, strict=True) if is_small)
        small, large = iter(_parted(together.small, shapes=tuple(shapes))), iter(together.large)
        leaves = [next(small if is_small else large) for is_small in self.small]
        return jax.tree.unflatten(self.structure, leaves)


def norm(tree: Any) -> Float[Array, ""]:
    """The square root of the sum of all squares; squares of arrays of one shape are added before
    they are summed, which is one sum to compile instead of one for each array."""
    alike: dict[tuple[int, ...], list[Array]] = {}
    for x in jax.tree.leaves(tree):
        alike.setdefault(x.shape, []).append(x)
    return jnp.sqrt(sum(jnp.sum(sum(x * x for x in same)) for same in alike.values()))
