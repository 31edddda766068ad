"""Decides which documents to keep. All options are off by default.

In: a document. Out: the document (with its language, if that was asked for), or a rejection. Duplicates are found
later, by `spark_jobs.changes`, from the marks of `marks_of`.
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
    """`filters`: apply published heuristics. `detect`: find the language if the row names none. `languages`: the codes
    to keep (`und`: unknown); empty keeps all. `duplicates`: which repetitions of a text to drop."""

    filters: bool = False
    detect: bool = False
    languages: tuple[str, ...] = ()
    duplicates: Literal["keep", "exact", "near"] = "keep"


def judge(found: Document, quality: Quality) -> Document | Rejected:
    """The document to keep, or the reason to drop it."""
    if not (quality.filters or quality.detect or quality.languages):
        return found
    language = found.language or language_of(found.text)
    if quality.languages and (language or UNKNOWN) not in quality.languages:
        return Rejected(
            Reason.LANGUAGE_NOT_WANTED,
            f"The language is {language or 'not known'}; only {', '.join(quality.languages)} are kept.",
        )
    wrong = flaw(found.text, language) if quality.filters else None
    if wrong is not None or language == found.language or not quality.detect:
        return wrong or found
    named = document(found.document_id, found.title, found.text, language, found.metadata, found.blocks)
    return named._replace(has_pages=found.has_pages)


def marks_of(text: str, quality: Quality) -> tuple[str | None, list[int] | None]:
    """A digest of the text and its MinHash signature, each only if the search for duplicates needs it."""
    if quality.duplicates == "keep":
        return None, None
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    if quality.duplicates == "exact":
        return digest, None
    signed = signature(text)
    return digest, None if signed is None else signed.tolist()
