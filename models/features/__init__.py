"""Networks that see images as features, in which the quality of samples is measured."""

from models.features.base import FeatureNetwork, Features
from models.features.inception import Inception, load_inception

__all__ = ["FeatureNetwork", "Features", "Inception", "load_inception"]
