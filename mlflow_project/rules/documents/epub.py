"""Reads EPUB books: each chapter of the spine is a part, in reading order. Needs lxml.

Format: EPUB 3.3, "Open Container Format" (META-INF/container.xml names the package document) and "Package document"
(its spine lists the chapters).
"""

from __future__ import annotations

import posixpath
import zipfile
from functools import partial
from typing import Any
from urllib.parse import unquote

from lxml import etree

from mlflow_project.rules.chunking.html_page import visible_text
from mlflow_project.rules.chunking.records import Reason
from mlflow_project.rules.documents.archives import open_archive
from mlflow_project.rules.documents.opened import NotReadable, Opened
from mlflow_project.rules.documents.web_page import decoded

_CONTAINER = "META-INF/container.xml"
_PAGES = frozenset({"application/xhtml+xml", "text/html"})


def open_epub(data: bytes) -> Opened:
    """Open a book.

    Raises:
        NotReadable: it has no package document, or is encrypted.
    """
    archive = open_archive(data)
    if "META-INF/encryption.xml" in archive.namelist() and "META-INF/rights.xml" in archive.namelist():
        raise NotReadable(Reason.ENCRYPTED, "The book is protected (DRM), so its text cannot be read.")
    roots = _xml(archive, _CONTAINER).xpath("//*[local-name()='rootfile']/@full-path")
    if not roots:
        raise NotReadable(Reason.UNREADABLE, f"The EPUB names no package document in {_CONTAINER}.")
    package = _xml(archive, roots[0])
    titles = package.xpath("//*[local-name()='metadata']/*[local-name()='title']/text()")
    folder = posixpath.dirname(roots[0])
    chapters = [partial(_chapter, archive, posixpath.join(folder, href)) for href in _spine(package)]
    return Opened(str(titles[0]).strip() if titles else "", chapters, "chapter")


def _spine(package: Any) -> list[str]:
    """The addresses of the chapters, in reading order."""
    items = {
        item.get("id"): item.get("href")
        for item in package.xpath("//*[local-name()='manifest']/*[local-name()='item']")
        if item.get("media-type") in _PAGES and "nav" not in (item.get("properties") or "").split()
    }
    references = package.xpath("//*[local-name()='spine']/*[local-name()='itemref']/@idref")
    return [unquote(items[each]) for each in references if items.get(each)]


def _chapter(archive: zipfile.ZipFile, name: str) -> str:
    page = decoded(archive.read(posixpath.normpath(name))).encode()
    return visible_text(page, without_landmarks=True)[0]


def _xml(archive: zipfile.ZipFile, name: str) -> Any:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    return etree.fromstring(archive.read(name), parser)
