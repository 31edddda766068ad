"""Which release answers a request, and how much its caller may still spend."""
