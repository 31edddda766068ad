"""Documentation pages to JSON lines in the object store: `python -m demo.corpus docs/guide s3a://bucket/key`.

In: a folder of Markdown pages. Out: one line `{"id", "title", "text"}` a page, in name order, and one line that is
broken on purpose, so that the quarantine has something to show. Writes nothing that is there already.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import InvalidData, NotFound, WorkspaceError
from mlflow_project.settings import StoreSettings, load

BROKEN_LINE = '{"id": "broken-on-purpose", "title": "A line that lost its end", "text": "Nobody closed this'


def document(page: Path) -> dict[str, str]:
    """A page as a document: its file name's stem, its first heading, its whole text."""
    text = page.read_text(encoding="utf-8")
    heading = next((line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("# ")), page.stem)
    return {"id": page.stem, "title": heading, "text": text}


def lines(folder: Path) -> bytes:
    """The folder's pages as JSON lines, the broken one last but one.

    Raises:
        InvalidData: the folder holds no page.
    """
    documents = [json.dumps(document(page), ensure_ascii=False) for page in sorted(folder.glob("*.md"))]
    if not documents:
        raise InvalidData(f"There is no Markdown page in {folder}: name a folder that holds some.")
    return "\n".join([*documents[:-1], BROKEN_LINE, documents[-1], ""]).encode()


def bucket_and_key(uri: str) -> tuple[str, str]:
    """`s3a://bucket/key` in its two parts.

    Raises:
        InvalidData: not of that form.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme not in {"s3", "s3a"} or not bucket or not key:
        raise InvalidData(f"{uri!r} is no place in the object store: write s3a://bucket/key.")
    return bucket, key


def upload(store: ObjectStore, folder: Path, uri: str) -> str:
    """Put the folder's pages at that place; a sentence that says what was done."""
    bucket, key = bucket_and_key(uri)
    data = lines(folder)
    rows = data.count(b"\n")
    try:
        if store.get(bucket, key) == data:
            return f"{uri} already holds these {rows} lines."
    except NotFound:
        pass
    store.put(bucket, key, data, "application/x-ndjson")
    return f"{rows} lines, {len(data):,} bytes -> {uri} (one line is broken on purpose)"


def main(arguments: list[str]) -> int:
    """The command. Exit codes as everywhere: 2 for wrong usage or input, 3 when the store is unreachable."""
    if len(arguments) != 2:
        sys.stderr.write("Usage: python -m demo.corpus FOLDER s3a://bucket/key\n")
        return 2
    try:
        said = upload(ObjectStore(load(StoreSettings)), Path(arguments[0]), arguments[1])
    except WorkspaceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(said + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
