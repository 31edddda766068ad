"""The routes, a file each; every one parses, makes one call, and answers."""
