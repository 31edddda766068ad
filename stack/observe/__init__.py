"""Prometheus and the OpenTelemetry collector beside the running stack, for those who ask for them: `make observe`."""
