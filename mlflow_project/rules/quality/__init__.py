"""What is worth keeping of a corpus, as pure functions: `languages` tells the language of a text, `minhash` finds texts
that nearly repeat others, `heuristics` are the published filters for running text. Executors need numpy besides."""
