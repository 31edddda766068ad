"""A whole file as a document: .txt and .md as they are, .html as the text that a reader sees, headings as Markdown.

In: bytes, the file's address, the folder it was found from. Out: a document whose id is the path below that folder.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote

from mlflow_project.rules.chunking.records import (
    MOST_BYTES,
    Document,
    Reason,
    Rejected,
    checked_id,
    checked_text,
    document,
)

_FIRST_HEADING = re.compile(r"^ {0,3}# +(\S.*)$", re.MULTILINE)


def read_file(data: bytes, address: str, base: str) -> Document | Rejected:
    """Read one file."""
    if len(data) > MOST_BYTES:
        return Rejected(Reason.TOO_LONG, f"The file has {len(data):,} bytes; at most {MOST_BYTES:,} are read.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        return Rejected(Reason.NOT_UTF8, f"The file is not UTF-8: byte {wrong.start} is {data[wrong.start]:#04x}.")
    path = _below(address, base)
    title = ""
    if PurePosixPath(path).suffix.lower() in (".html", ".htm"):
        from mlflow_project.rules.chunking.html_page import seen  # needs lxml, which is there where pages are read

        text, title = seen(text.encode())
    heading = _FIRST_HEADING.search(text)
    title = title or (heading[1].rstrip(" #\r") if heading else "") or PurePosixPath(path).stem
    wrong_part = checked_id(path, "path") or checked_text(text, "text")
    return wrong_part or document(path, title, text)


def _below(address: str, base: str) -> str:
    address, base = (unquote(re.sub(r"^([a-z0-9]+):/+", r"\1:/", each)) for each in (address, base))
    return address.removeprefix(base).lstrip("/")
