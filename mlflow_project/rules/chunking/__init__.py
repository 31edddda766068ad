"""Raw text to documents and chunks, as pure functions: `records` reads rows, `structure` finds headings, fences and
tables, `splitter` cuts, `chunks` names what was cut. Spark executors need no more than this package and orjson."""
