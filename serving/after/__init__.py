"""Records finished requests: log lines, metrics, traces, events, quality scores and feedback."""
