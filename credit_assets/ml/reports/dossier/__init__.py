"""The dossier of a registered version: what a validator reads, prints and signs, as a page and as JSON.

Belongs here: sections made of blocks from the records of a version (one module a section), and the two forms of the
whole. Does not belong here: finding the records (`credit_assets.assets.dossier`), and anything that is measured
(`credit_assets.ml.evidence`). No clock: the same records give the same bytes.
"""
