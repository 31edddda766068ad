"""Side-by-side measurements: `python -m bench.<subject>` prints a table and writes `bench/results/<subject>.json`."""
