"""Reads a whole text file (.txt, .md) as a document. `mlflow_project.rules.documents` reads other formats.

In: the file's bytes, its address, and the folder that was read. Out: a document whose id is the path below that folder,
or a rejection.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote

from mlflow_project.rules.chunking.records import (
    EMPTY_FILE,
    MOST_BYTES,
    Document,
    Reason,
    Rejected,
    checked_id,
    checked_text,
    document,
)

_FORMATS = {
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a zip archive (perhaps a .xlsx or .odt)",
    b"PK\x05\x06": "an empty zip archive",
    b"\xd0\xcf\x11\xe0": "an Office document that is old or has a password",
    b"{\\rtf": "rich text (RTF)",
    b"%!PS": "PostScript",
    b"\x1f\x8b": "packed with gzip",
    b"BZh": "packed with bzip2",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x89PNG": "a picture (PNG)",
    b"GIF8": "a picture (GIF)",
    b"\xff\xd8\xff": "a picture (JPEG)",
    b"PAR1": "a Parquet file",
    b"SQLite format 3": "a database (SQLite)",
    b"\x7fELF": "a program",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
"""How files begin that are no UTF-8 text, though some of them could be read as such."""
_CONTROL = bytes({*range(0x01, 0x09), *range(0x0E, 0x1B), *range(0x1C, 0x20)})
"""Control characters that texts hardly hold. NUL has a reason of its own; form feed and escape occur in real texts."""
_MOST_CONTROL = 0.01
"""The share of control characters above which a file is taken for something else than text."""
_FIRST_HEADING = re.compile(r"^ {0,3}# +(\S.*)$", re.MULTILINE)


def read_file(data: bytes, address: str, base: str) -> Document | Rejected:
    """Read one text file."""
    if wrong_size := checked_size(data):
        return wrong_size
    if another_format := checked_text_format(data):
        return another_format
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        return Rejected(Reason.NOT_UTF8, f"The file is not UTF-8: byte {wrong.start} is {data[wrong.start]:#04x}.")
    return file_document("", text, address, base)


def checked_size(data: bytes) -> Rejected | None:
    """Why a file is empty or too long; None if it is neither."""
    if not data:
        return EMPTY_FILE
    if len(data) > MOST_BYTES:
        return Rejected(Reason.TOO_LONG, f"The file has {len(data):,} bytes; at most {MOST_BYTES:,} are read.")
    return None


def checked_text_format(data: bytes) -> Rejected | None:
    """Why a file is not text, whatever its name says; None if it may be text."""
    for beginning, what in _FORMATS.items():
        if data.startswith(beginning):
            return Rejected(Reason.NOT_TEXT, f"The file is {what}, not text: convert it to UTF-8 text first.")
    control = len(data) - len(data.translate(None, _CONTROL))
    if control > _MOST_CONTROL * len(data):
        return Rejected(Reason.NOT_TEXT, f"The file is not text: {control:,} of {len(data):,} bytes are control codes.")
    return None


def file_document(title: str, text: str, address: str, base: str, metadata: str = "{}") -> Document | Rejected:
    """A document whose id is its path below the folder that was read. Without a title, its first heading or the file's
    name is its title."""
    path = _below(address, base)
    heading = None if title else _FIRST_HEADING.search(text)
    title = title or (heading[1].rstrip(" #\r") if heading else "") or PurePosixPath(path).stem
    return checked_id(path, "path") or checked_text(text, "text") or document(path, title, text, metadata=metadata)


def _below(address: str, base: str) -> str:
    address, base = (unquote(re.sub(r"^([a-z0-9]+):/+", r"\1:/", each)) for each in (address, base))
    return address.removeprefix(base).lstrip("/")
