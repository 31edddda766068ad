"""Looks for better settings of retrieval: `sweep.tune(...)` measures many settings on one half of the cases, and the
best one beside the present one on the other half. Nothing here changes a release, a template or a table."""
