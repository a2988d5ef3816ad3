"""The network that a file speaks of is of a size that its tensors bear out, or is not traced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import models
from configs import schema
from models.pretrained import PretrainedError, open_checkpoint
from models.pretrained.base import Checkpoint
from models.pretrained.matching import config_of, disagreements
from untrusted import limits

GOLDEN = Path(__file__).parents[2] / "golden"


def spoken(per_level: int, levels: int, tensors: int) -> Checkpoint:
    settings = {"model.name": "ncsnpp", "model.num_res_blocks": per_level,
                "model.ch_mult": (1,) * levels, "data.image_size": 1 << levels}  # fmt: skip
    return Checkpoint("x", settings, None, {f"w{k}": np.zeros(0) for k in range(tensors)})


def test_as_many_blocks_as_are_borne_out_are_taken():
    # Two levels of three down and four up, and two in the middle, of eight tensors each.
    assert config_of(spoken(3, 2, 128)).model.num_res_blocks == 3
    with pytest.raises(PretrainedError, match="16 residual blocks and has 127 tensors: forged"):
        config_of(spoken(3, 2, 127))


def test_more_blocks_than_any_network_has_are_refused_whatever_the_tensors():
    most = limits.NETWORK_BLOCKS
    config_of(spoken(most // 4, 4, 20_000))
    with pytest.raises(
        PretrainedError, match=f"{most + 4} residual blocks on the way down.*{most}"
    ):
        config_of(spoken(most // 4 + 1, 4, 20_000))


@pytest.mark.parametrize("name", ["edm_ddpmpp.pkl", "vp_ddpm_continuous.pth", "diffusers/ddpm"])
def test_published_networks_are_borne_out(name):
    models.build(open_checkpoint(GOLDEN / name).config)


def test_networks_whose_blocks_their_names_fix_are_not_counted():
    settings = {"model.name": "ncsnv2_64", "model.num_res_blocks": 60}
    config_of(Checkpoint("x", settings, None, {"w": np.zeros(0)}))


@pytest.mark.parametrize(
    "given, name, matters",
    [
        ({"sde.name": "ve"}, "sde.sigma_min", True),
        ({"sde.name": "vesde"}, "sde.sigma_max", True),
        ({"sde.name": "edm"}, "sde.sigma_max", False),  # the ends of sampling, not of the network
        ({"sde.name": "vp"}, "sde.beta_max", True),
        ({"sde.name": "vp"}, "sde.sigma_min", False),
        ({"sde.name": "vp"}, "sde.num_scales", False),
        ({"sde.name": "vp", "training.continuous": False}, "sde.num_scales", True),
        ({"sde.name": "edm", "model.conditioning": "vp_time"}, "sde.num_scales", True),
        ({"sde.name": "edm", "model.conditioning": "vp_time"}, "sde.beta_max", True),
        ({"sde.name": "learned"}, "sde.log_snr_max", True),
        ({"sde.name": "learned", "training.continuous": False}, "sde.log_snr_max", True),
    ],
)
def test_a_setting_of_the_sde_has_to_agree_if_the_network_depends_on_it(given, name, matters):
    config = schema.get_default()
    config.update_from_flattened_dict(given)
    other = schema.flatten(config)[name] * 2
    told = disagreements(Checkpoint("x", {name: other}, None, {}), config)
    assert list(told) == ([name] if matters else [])
