"""From raw text to documents and chunks, as pure functions: `records` reads rows, `files` reads whole files,
`structure` finds headings, fences and tables, `splitter` cuts, `chunks` gives ids. Spark executors need no more than
this package and orjson (lxml for HTML)."""
