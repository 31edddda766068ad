"""Lineage: what an answer rests on, and what rests on a document. Every connection is read from what was recorded.

`graph` and `drawing` are pure. `answers`, `texts` and `raw_rows` read events, Delta tables, indexes and raw files;
`release_facts`, `text_facts` and `facts` turn what was read into edges. `trace` follows one answer back and checks each
step. `impact` lists what rests on a text.
"""
