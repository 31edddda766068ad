"""From a prompt folder to versions in MLflow.

`folder` finds templates, `template_file` reads one, `fields` reads its front matter, `register` writes what is new.
"""
