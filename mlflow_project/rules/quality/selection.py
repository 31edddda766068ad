"""Which documents are worth keeping: the options of a run, and the judgement on one document. All is off by default.

In: a document. Out: the document (with its language, where that was asked for), or a rejection. What only all documents
together can show, duplicates, is decided by `spark_jobs.changes` from the marks that `marks_of` gives.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from mlflow_project.rules.chunking.records import Document, Reason, Rejected, document
from mlflow_project.rules.quality.heuristics import flaw
from mlflow_project.rules.quality.languages import UNKNOWN, language_of
from mlflow_project.rules.quality.minhash import signature


@dataclass(frozen=True)
class Quality:
    """`filters`: published heuristics; `detect`: name the language where the row does not; `languages`: the codes to
    keep (`und`: unknown), none for all; `duplicates`: which repetitions of a text to drop."""

    filters: bool = False
    detect: bool = False
    languages: tuple[str, ...] = ()
    duplicates: Literal["keep", "exact", "near"] = "keep"


def judge(found: Document, quality: Quality) -> Document | Rejected:
    """The document as it is to be kept, or why it is not."""
    if not (quality.filters or quality.detect or quality.languages):
        return found
    language = found.language or language_of(found.text)
    if quality.languages and (language or UNKNOWN) not in quality.languages:
        return Rejected(
            Reason.LANGUAGE_NOT_WANTED,
            f"The language is {language or 'not known'}; wanted: {', '.join(quality.languages)}.",
        )
    wrong = flaw(found.text, language) if quality.filters else None
    if wrong is not None or language == found.language or not quality.detect:
        return wrong or found
    return document(found.document_id, found.title, found.text, language, found.metadata, found.blocks)


def marks_of(text: str, quality: Quality) -> tuple[str | None, list[int] | None]:
    """A digest of the text and its MinHash signature, as far as finding duplicates needs them."""
    if quality.duplicates == "keep":
        return None, None
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    if quality.duplicates == "exact":
        return digest, None
    signed = signature(text)
    return digest, None if signed is None else signed.tolist()
