"""The routes, one file each. A route parses, makes one call, and answers."""
