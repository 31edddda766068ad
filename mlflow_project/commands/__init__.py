"""The command line `switchyard`: one module per subject, each with `add_to(app)`."""
