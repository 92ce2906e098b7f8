"""What people do in the Dagster and MLflow pages, done by a browser: `make test-browser`.

Belongs here: ways through the pages, from the first click to what is seen at the end, and the pictures of the docs,
which are taken on these ways. Does not belong here: what can be asked for without a browser.
"""
