"""Kafka, the ingestion service and the writer beside the running stack, for those who ask for them: `make ingest`."""
