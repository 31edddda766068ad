"""What each page shows, read with the functions that the commands use. In: `Parts`. Out: frozen dataclasses."""
