"""`switchyard follow`: the one process of a host that watches registry and ledger and writes what the workers serve.

In: MLflow's aliases, the ledger, sealed manifests and indexes. Out: the serving folder's snapshot, and this host's
presence with the receipts of its workers. It never serves a request, and nothing that it reads can make it crash: what
cannot be verified is refused and reported, and what was live stays live.
"""
