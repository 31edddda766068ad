"""What remains of an answered request: log lines, metrics, traces, events, quality scores and feedback."""
