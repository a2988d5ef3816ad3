"""Frozen readers of texts, CLIP's and T5's, from published files; see `files` and `conditions`."""
