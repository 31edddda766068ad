"""The web console: what is live, how good it is, and the controls to change it.

No rule lives here. Each page calls the functions that the commands call, and each change is refused or made by them.
"""
