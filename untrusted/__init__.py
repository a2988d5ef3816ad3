"""Reading of files from strangers, within one set of budgets (`limits`).

    from untrusted import UntrustedError, open_regular, read_arrays, read_json
    from untrusted.pictures import open_picture

Every reader of the project that is given a path goes through here. A refusal is one line, takes
under a second and under 200 MiB, and comes before anything is unpacked, decoded or run.
"""

from untrusted import limits
from untrusted.arrays import ONLY, Header, read_arrays, read_headers
from untrusted.errors import UntrustedError, plain, shown
from untrusted.opening import (
    check_folder,
    check_regular,
    is_regular,
    map_regular,
    open_regular,
    read_bytes,
    sha256,
)
from untrusted.tables import Columns, read_names, read_table
from untrusted.texts import parse_json, read_json

__all__ = ["ONLY", "Columns", "Header", "UntrustedError", "check_folder", "check_regular",
           "is_regular", "limits", "map_regular", "open_regular", "parse_json", "plain",
           "read_arrays", "read_bytes", "read_headers", "read_json", "read_names", "read_table",
           "sha256", "shown"]  # fmt: skip
