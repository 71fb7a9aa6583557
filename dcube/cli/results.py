"""`dcube results`: the table of all evaluated models."""


def results() -> None:
    """The table of all evaluated models."""
    from dcube.cli.results_tables import print_results

    print_results()
