"""The console's routes, one module for each page or group of pages. A route parses, makes one call, and answers."""
