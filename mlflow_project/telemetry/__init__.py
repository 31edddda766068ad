"""What Switchyard lets be seen: a catalogue of metrics, instruments over OTLP, and traces of which the telling ones are
kept. With no collector configured every call here costs next to nothing. Never a text, key or prompt in a label."""
