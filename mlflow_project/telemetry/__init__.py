"""Metrics and traces: a catalogue of metrics, their measurements, and traces of requests, sent over OTLP.

Without a configured collector, a call costs next to nothing. No label ever contains a text, a key or a prompt.
"""
