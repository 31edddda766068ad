"""What every request passes before a route sees it: its head, its key, its size, and a place to be answered in."""
