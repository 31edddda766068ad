"""Judges which documents of a corpus to keep, as pure functions: `languages` finds the language of a text, `minhash`
finds texts that nearly repeat others, `heuristics` holds published filters for running text. Executors need numpy as
well."""
