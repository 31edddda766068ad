"""What a host has on disk to serve from: the follower writes it, the server's workers read it.

In: verified releases and the registry's last word. Out: files below the serving folder, each replaced by rename.
Must not know MLflow, the object store or HTTP: a worker that imports this stays light and starts while both are down.
"""
