"""The whole platform on one machine without Docker: `python -m flows.stack` (`make stack`), under supervisord."""
