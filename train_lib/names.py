"""Tables for checking the names in settings that a file brings with its model.

Names that an experiment reads are checked when it is built. A name that it does not read would
stay in the written config unnoticed, so it is checked here beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import data_lib
import models
import sde_lib
from configs.kinds import JOINED_BY
from data_lib import codec, glyphs
from data_lib.conditions import CONDITION_CODECS
from data_lib.config import MISSING
from data_lib.pictures import FILTERS
from models import guided_unet, ncsnpp, noisy_classifier, songunet, unet_condition
from models.layers.blocks import RESBLOCKS
from models.layers.instance_norm import NORMS
from models.layers.pyramids import COMBINE, INPUTS, OUTPUTS
from models.layers.told import LEVELS, VECTORS
from models.layers.transformers import TOKEN_NORMS
from models.refinenet import RELEASES
from models.settings import ACTIVATIONS, DTYPES, NORMALIZATIONS
from models.text_encoders.conditions import MASKS, NOTHING
from samplers import named
from samplers.adaptive.integrate import INTEGRATORS
from samplers.adaptive.ode import CLOCKS
from samplers.build import STARTS
from samplers.planned.ending import ENDINGS
from samplers.planned.forms import FORMS
from samplers.spacing import SPACINGS, WARPS
from sde_lib.bins import CDFS
from sde_lib.coarse import COARSE_SCHEDULES, PLACES
from sde_lib.condition import CONDITIONS
from sde_lib.iddpm import SCHEDULES
from sde_lib.resizing import UPSAMPLINGS
from train_lib.adversary import ADVERSARIES
from train_lib.autoencoding import RECONSTRUCTIONS
from train_lib.chain import LEVEL_LAWS
from train_lib.objective import ERRORS, LAWS, OBJECTIVES, WEIGHTINGS
from train_lib.optimizer import DECAYS, OPTIMIZERS
from untrusted import shown

PUBLISHED = ("published",)
JOINED = ("model.condition", "model.condition_hidden", "data.condition_codec")
"""Texts that may be several names, joined."""
RULED = (
    "sampling.respacing", "data.words", "data.autoencoder_hash", "data.text_encoder_hash",
)  # fmt: skip
"""Texts that travel and are no names: their rule in `configs.defaults` says what they may be."""
TABLES: dict[str, tuple[Iterable[str], ...]] = {
    "sde.name": (sde_lib.SDES, sde_lib.PUBLISHED_NAMES),
    "sde.schedule": (SCHEDULES,),
    "model.name": (models.NETWORKS, models.CLASSIFIERS, models.AUTOENCODERS),
    "model.resblock_type": (RESBLOCKS,),
    "model.progressive": (OUTPUTS,),
    "model.progressive_input": (INPUTS,),
    "model.progressive_combine": (COMBINE,),
    "model.embedding_type": (ncsnpp.EMBEDDINGS, songunet.EMBEDDINGS),
    "model.nonlinearity": (ACTIVATIONS,),
    "model.normalization": (NORMALIZATIONS, NORMS),
    "model.refinenet": (RELEASES,),
    "model.interpolation": tuple(release.interpolations for release in RELEASES.values()),
    "model.condition": (CONDITIONS,),
    "model.condition_hidden": (CONDITIONS, ("",)),
    "model.dtype": (DTYPES,),
    "model.pool": (noisy_classifier.POOLS,),
    "model.token_attention": (unet_condition.TOKEN_ATTENTIONS,),
    "model.middle": (unet_condition.MIDDLES,),
    "model.token_norm": (TOKEN_NORMS,),
    "model.vector_embedding": (VECTORS,),
    "model.level_embedding": (LEVELS,),
    "model.time_activation": (unet_condition.AFTER,),
    "model.embedding_activation": (unet_condition.AFTER,),
    "model.attention_order": (guided_unet.ATTENTION_ORDERS,),
    "model.prediction": (sde_lib.PREDICTIONS, PUBLISHED),
    "model.conditioning": (sde_lib.CONDITIONINGS, PUBLISHED),
    "data.dataset": (data_lib.SOURCES, data_lib.ALIASES),
    "data.filter": (FILTERS,),
    "data.glyphs": (glyphs.TIERS,),
    "data.colours": (glyphs.COLOURS,),
    "data.codec": (codec.CODECS,),
    "data.missing": (MISSING,),
    "data.coarse_filter": (UPSAMPLINGS,),
    "data.coarse_noise": (PLACES,),
    "data.coarse_schedule": (COARSE_SCHEDULES,),
    "data.condition_codec": (CONDITION_CODECS,),
    "data.text_mask": (MASKS,),
    "data.text_nothing": (NOTHING,),
    "training.time_law": (LAWS, LEVEL_LAWS),
    "training.error": (ERRORS,),
    "training.weighting": (WEIGHTINGS,),
    "training.objective": (OBJECTIVES,),
    "training.cdf": (CDFS,),
    "training.reconstruction": (RECONSTRUCTIONS,),
    "training.adversary": (ADVERSARIES,),
    "optim.optimizer": (OPTIMIZERS,),
    "optim.schedule": (DECAYS,),
    "sampling.guidance_kind": (sde_lib.GUIDANCE,),
    "sampling.predictor": (named.PREDICTORS, named.PUBLISHED_NAMES),
    "sampling.corrector": (named.CORRECTORS,),
    "sampling.pc_order": (named.PC_ORDERS,),
    "sampling.spacing": (SPACINGS,),
    "sampling.warp": (WARPS,),
    "sampling.start": (STARTS,),
    "sampling.form": (FORMS,),
    "sampling.second_order": (named.SECOND_ORDERS, named.BH),
    "sampling.third_order": (named.THIRD_ORDERS,),
    "sampling.plms_start": (named.PLMS_STARTS,),
    "sampling.ending": (ENDINGS,),
    "sampling.ancestral_variance": (named.VARIANCES,),
    "sampling.restart_solver": (named.PREDICTORS,),
    "sampling.ode_solver": (INTEGRATORS,),
    "sampling.ode_clock": (CLOCKS,),
    "sampling.step_control": (named.STEP_CONTROLS,),
    "sampling.norm": (named.NORMS,),
    "sampling.grid": (named.GRIDS,),
}
"""A setting that travels -> the tables of its allowed names."""


def check(settings: Mapping[str, Any]) -> None:
    """Raise ValueError, with the known names, for a name in no table, regardless of case."""
    for setting in settings.keys() & TABLES.keys():
        known = [name for table in TABLES[setting] for name in table]
        asked = settings[setting].lower()
        names = asked.split(JOINED_BY) if setting in JOINED else [asked]
        if not {*names} <= {*map(str.lower, known)}:
            raise ValueError(
                f"{setting} must be one of {', '.join(dict.fromkeys(known))}, the file says "
                f"{shown(settings[setting])}"
            )
