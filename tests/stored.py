"""Arrays of .npz files, which are closed again."""

from pathlib import Path

import numpy as np


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name.

    Python 3.13 warns of a file that is still open when it is forgotten.
    """
    with np.load(path) as file:
        return dict(file)
