"""A corpus for measurements: JSON lines `{"id", "title", "text"}` made from the texts that lie on this machine.

In: folders of documentation (`/usr/share/doc`, Perl's, the environment's packages) and XQuAD's documents. Out: files of
at most 100 MB (10^6 bytes) in one folder. Texts come again, under ids and with a first line of their own, until the
size is reached; their order is shuffled with a fixed seed, so that every file is a fair sample of the whole.
"""

from __future__ import annotations

import gzip
import os
import random
import sysconfig
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import orjson

FOLDERS = (Path("/usr/share/doc"), Path("/usr/share/perl"), Path(sysconfig.get_path("purelib")))
ENDINGS = frozenset({".md", ".txt", ".rst", ".html", ".gz", ".pod", ""})
FILE_BYTES = 100_000_000
LARGE_BYTES = 20_000_000
MOST_CHARACTERS = 500_000


def texts_of_this_machine(xquad: Path | None) -> list[str]:
    """Return all texts once, in a shuffled order that does not change."""
    lines = (xquad / "documents.jsonl").read_bytes().splitlines() if xquad else []
    found = [orjson.loads(line)["text"] for line in lines]
    for folder in FOLDERS:
        found += [text for path in sorted(folder.rglob("*")) if (text := _text(path))]
    texts = list(dict.fromkeys(found))
    random.Random(7).shuffle(texts)
    return texts


def write_corpus(folder: Path, texts: Sequence[str], megabytes: int) -> list[Path]:
    """Write about so many megabytes; returns the files."""
    folder.mkdir(parents=True)
    lines = _endless(texts)
    left = megabytes * 1_000_000
    files: list[Path] = []
    while left > 0:
        files.append(folder / f"part-{len(files):03}.jsonl")
        with files[-1].open("wb") as file:
            while file.tell() < min(left, FILE_BYTES):
                file.write(next(lines))
            left -= file.tell()
    return files


def write_large_document(path: Path, texts: Sequence[str]) -> Path:
    """A file with one document, whose text has 20 MB."""
    whole = "\n\n".join(texts[: LARGE_BYTES // 1000]).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_line("large", "A large document", whole[:LARGE_BYTES].decode("utf-8", "ignore")))
    return path


def link(files: Sequence[Path], folder: Path) -> Path:
    """The same files in another folder, without copying them."""
    folder.mkdir(parents=True)
    for file in files:
        os.link(file, folder / file.name)
    return folder


def write_changed(files: Sequence[Path], folder: Path, share: float) -> int:
    """The corpus with one sentence more in each document of the first `share` of its bytes; returns how many those are.

    Changed documents lie side by side, as one source's do; files without any are linked.
    """
    folder.mkdir(parents=True)
    left, changed = share * sum(file.stat().st_size for file in files), 0
    for file in files:
        if left <= 0:
            os.link(file, folder / file.name)
            continue
        with file.open("rb") as before, (folder / file.name).open("wb") as after:
            for line in before:
                row = orjson.loads(line) if left > 0 else None
                after.write(_line(row["id"], row["title"], f"{row['text']}\nChanged: {share}.") if row else line)
                changed += row is not None
                left -= len(line)
    return changed


def _endless(texts: Sequence[str]) -> Iterator[bytes]:
    for copy in count():
        for number, text in enumerate(texts):
            yield _line(f"{number}/{copy}", f"Text {number}", f"Copy {copy} of text {number}.\n\n{text}")


def _line(name: str, title: str, text: str) -> bytes:
    return orjson.dumps({"id": name, "title": title, "text": text}) + b"\n"


def _text(path: Path) -> str:
    if path.suffix not in ENDINGS or path.is_symlink() or not path.is_file():
        return ""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode()
    except (OSError, EOFError, UnicodeDecodeError):
        return ""
    return "" if "\0" in text or not text.strip() else text[:MOST_CHARACTERS]
