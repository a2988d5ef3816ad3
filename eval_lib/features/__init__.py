"""Features of images, which metrics compare, and statistics of features."""
