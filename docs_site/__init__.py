"""The docs as a site: `python -m docs_site`, or `make docs`, builds it into build/site.

Belongs here: how pages of the repository become pages of a site, and the references that are made from the code.
Does not belong here: any text that a person writes (`docs/`).
"""
