"""Reads the documents that people have: PDF, Word, PowerPoint, EPUB, e-mail and HTML.

`kinds` says what a file is, by its first bytes and its name. Each format has a module that opens it with a kept
library; `reading` joins the parts of an opened document to one text. Pure functions: bytes in, text out. They trust
nothing about the bytes, but a hostile file may still cost much time or memory, so `spark_jobs.document_reader` runs
them in a child process with limits. The libraries are those of the extra `documents`; each module loads its own.
"""
