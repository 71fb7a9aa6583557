"""A registered model answers on images that it has never seen: at a terminal, as a service, over a bucket."""
