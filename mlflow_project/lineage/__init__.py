"""Lineage: what an answer rests on, and what rests on a document. Every connection is read from what was recorded.

`nodes` and `graph` are pure. Readers (`answers`, `texts`, `raw_rows`) read events, Delta tables, indexes and raw files.
`trace` follows one answer back and checks each step.
"""
