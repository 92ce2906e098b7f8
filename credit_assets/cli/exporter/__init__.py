"""`credit-assets metrics`: how things stand, as figures that Prometheus reads.

`families` is the table of what there is, `of_instance` and `of_store` read it, `places` bounds how long and how often
that takes, `server` answers. Nothing is changed by any of them.
"""
