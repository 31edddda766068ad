"""Registers a prompt folder's templates in MLflow as versions.

`folder` finds the templates, `template_file` reads one, `front_matter` reads its head, `register` writes new versions.
"""
