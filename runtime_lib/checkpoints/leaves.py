"""A state as named arrays, the form in which it is stored.

The name of a leaf is its path in the tree (`params/Conv_0/kernel`, `opt_state/0/mu/...`), so that
reading a state, and complaints about it, do not depend on the Python classes that made it. A leaf
is stored as its data: the array itself, or the 32-bit words of a typed PRNG key.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import Array, PyTree


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """The leaves of a tree by name, in the order of the tree.

    Raises ValueError if two leaves would have the same name.
    """
    leaves = [
        (keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in tree_flatten_with_path(tree)[0]
    ]
    named = dict(leaves)
    if len(named) < len(leaves):
        raise ValueError("the names in a state must not contain '/'")
    return named


def is_key(leaf: Any) -> bool:
    """True if a leaf (array or shape) is a typed PRNG key."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def as_data(leaf: Any) -> Array:
    """The stored data of a leaf; a number or numpy array becomes the array that jit would make."""
    array = jnp.asarray(leaf)
    return jax.random.key_data(array) if is_key(array) else array


def from_data(data: Array | np.ndarray, key: str | None) -> Array:
    """The leaf of these data; `key` names the generator if it was a PRNG key."""
    # A copy, because jax may otherwise share the memory that the reader allocated.
    array = jnp.array(data) if isinstance(data, np.ndarray) else data
    return array if key is None else jax.random.wrap_key_data(array, impl=key)


def abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, dtype and, if the caller chose one, sharding of an array or its description."""
    like = jax.eval_shape(lambda x: x, leaf)
    chosen = getattr(leaf, "sharding", None) if getattr(leaf, "committed", True) else None
    return jax.ShapeDtypeStruct(like.shape, like.dtype, sharding=chosen)


def abstract_data(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Shape, dtype and sharding of `as_data(leaf)`."""
    if not is_key(leaf):
        return leaf
    words = jax.eval_shape(jax.random.key_data, leaf)
    return jax.ShapeDtypeStruct(words.shape, words.dtype, sharding=leaf.sharding)
