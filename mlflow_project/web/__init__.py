"""The parts that every HTTP server of Switchyard shares: API keys, limits, errors, and the HTTP protocol."""
