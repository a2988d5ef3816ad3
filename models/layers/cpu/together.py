"""Small arrays updated together: hundreds of biases and scales as one vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from models.layers.cpu.outline import outlined
from models.layers.cpu.switch import TUNED

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
def _parted(vector: Array, *starts: Array, shapes: tuple[tuple[int, ...], ...]) -> list[Array]:
    return [
        jax.lax.dynamic_slice(vector, (start,), (math.prod(shape),)).reshape(shape)
        for shape, start in zip(shapes, starts, strict=True)
    ]


def _starts(shapes: Sequence[tuple[int, ...]]) -> Sequence[Array]:
    """Places of arrays that lie end to end, as numbers that XLA does not know.

    Arrays of one shape are then cut out by one kernel. A kernel for each place, of which each takes
    1.2 MiB of XLA's compiler, made a fifth of what compiling the digits' step needs.
    """
    sizes = map(math.prod, shapes)
    return jax.lax.optimization_barrier([jnp.int32(n) for n in accumulate(sizes, initial=0)][:-1])


@dataclass(frozen=True)
class Gathering:
    """The map from trees of one structure to few arrays and back.

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
        """The map of trees like this one."""
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
        shapes = tuple(s for s, is_small in zip(self.shapes, self.small, strict=True) if is_small)
        parts = _parted(together.small, *_starts(shapes), shapes=shapes) if shapes else []
        small, large = iter(parts), iter(together.large)
        leaves = [next(small if is_small else large) for is_small in self.small]
        return jax.tree.unflatten(self.structure, leaves)


def together(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, a map of trees like its first argument, on gathered trees in a program for CPUs.

    Those trees may lie anywhere within its arguments and results.
    """

    def call(first: Any, *others: Any) -> Any:
        gathering = Gathering.of(first)

        def gathered(*args: Any) -> Any:
            return gathering.scatter(function(*gathering.gather(args)))

        if not TUNED.value:
            return function(first, *others)
        return jax.lax.platform_dependent(first, *others, cpu=gathered, default=function)

    return call
