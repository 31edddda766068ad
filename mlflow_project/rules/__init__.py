"""Pure rules: canonical form and digests, templates, chunking, scorers, the gate. No I/O, no clock, no network."""
