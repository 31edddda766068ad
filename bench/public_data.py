"""Public data sets beside the repository, in `../shared/data` or where `SWITCHYARD_PUBLIC_DATA` says.

They add to what is measured and are never needed: `data_set` returns None where one is missing, and says what is
therefore left out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

FOLDER = Path(os.environ.get("SWITCHYARD_PUBLIC_DATA", Path(__file__).parents[2] / "shared" / "data"))


def data_set(name: str, source: str, left_out: str, folder: Path | None = None) -> Path | None:
    """Return the folder of a data set, or None after a line on stderr: where it is from, and what is left out."""
    found = folder or FOLDER / name
    if found.is_dir():
        return found
    sys.stderr.write(f"{found} is not there ({source}), so this is left out: {left_out}.\n")
    return None
