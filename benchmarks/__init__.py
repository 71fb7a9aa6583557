"""Every lever of speed against the plain formulation written here, as a ratio in one run."""
