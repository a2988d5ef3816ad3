"""Drawing without a screen, and PNG files that say whose they are."""

from __future__ import annotations

import io
from typing import Any

from untrusted import ours

COMMENT = "Comment"
"""Key of the text in a PNG file that holds the mark of a file of ours."""


def pyplot() -> Any:
    """matplotlib.pyplot without a screen; imported only where something is drawn."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def png(figure: Any, dpi: int = 110) -> bytes:
    """The figure as a PNG file, and its end."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={COMMENT: ours.MARK})
    pyplot().close(figure)
    return buffer.getvalue()
