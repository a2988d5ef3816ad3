"""Pictures of arrays that are no pictures: vectors, signals, fields, and what is said of them."""

from eval_lib.array_pictures.calibration import coverage_png, ranks_png
from eval_lib.array_pictures.choose import PICTURES, picture_of
from eval_lib.array_pictures.spectra import spectra_png

__all__ = ["PICTURES", "coverage_png", "picture_of", "ranks_png", "spectra_png"]
