"""Networks that map images to the features in which sample quality is measured."""

from models.features.base import FeatureNetwork, Features
from models.features.dinov2 import DINOv2, load_dinov2
from models.features.inception import Inception, load_inception

__all__ = ["DINOv2", "FeatureNetwork", "Features", "Inception", "load_dinov2", "load_inception"]
