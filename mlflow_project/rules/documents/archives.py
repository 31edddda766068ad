"""Opens zip archives that strangers made, for formats that are one (Word, PowerPoint, EPUB)."""

from __future__ import annotations

import zipfile
from io import BytesIO

from mlflow_project.rules.chunking.records import Reason
from mlflow_project.rules.documents.opened import NotReadable

MOST_UNPACKED = 256 << 20
"""Bytes. zipfile unpacks no more of a file than the archive says, so the sum is a bound."""
_ENCRYPTED = 0x1


def open_archive(data: bytes) -> zipfile.ZipFile:
    """Open an archive.

    Raises:
        NotReadable: it would unpack to too much, or it has a password.
    """
    archive = zipfile.ZipFile(BytesIO(data))
    size = sum(each.file_size for each in archive.infolist())
    if size > MOST_UNPACKED:
        raise NotReadable(
            Reason.TOO_MUCH_MEMORY, f"The file unpacks to {size:,} bytes; at most {MOST_UNPACKED:,} are read."
        )
    if any(each.flag_bits & _ENCRYPTED for each in archive.infolist()):
        raise NotReadable(Reason.ENCRYPTED, "The file has a password: remove it, then prepare again.")
    return archive
