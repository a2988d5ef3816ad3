"""Published networks have their published sizes, to the unit.

Their outputs are in tests/modes/test_import.py.
"""

from __future__ import annotations

import functools

import jax
import pytest
from ml_collections import ConfigDict

import models
from configs.published import PUBLISHED
from tests.models.published import published
from tests.slow import but_slow


@functools.cache
def count(network, size):
    """Networks of the same make are counted once."""
    config = ConfigDict({"data": {"image_size": size, "num_channels": 3}})
    shapes = jax.eval_shape(lambda key: models.init(network, key, config), jax.random.key(0))
    return models.count(shapes)


BUILT = [name for name in PUBLISHED if published(name).model.name in models.NETWORKS]


QUICK = ("vp/cifar10_ddpmpp_continuous", "ve/ffhq_ncsnpp_continuous", "ve/ncsn/cifar10",
         "ve/ncsnv2/bedroom")  # fmt: skip


@pytest.mark.parametrize("name", but_slow(BUILT, *(set(BUILT) - set(QUICK))))
def test_parameter_count_is_the_published_one(name):
    config = published(name)
    assert count(models.build(config), config.data.image_size) == PUBLISHED[name].parameters
