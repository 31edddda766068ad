"""Reads the content of each page with the functions that the commands use. In: `Parts`. Out: frozen dataclasses."""
