"""Features of images, in which metrics measure, and their statistics."""
