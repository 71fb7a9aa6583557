"""The whole platform on one machine without Docker: `python -m flows.stack` (`make stack`).

One module a server; each gives a `Server` that is a context manager, so that tests start only what they need.
"""
