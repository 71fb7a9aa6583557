"""The prefix `guessed:` of `data.group_by`: `dcube plan` has proposed the value, and nobody has confirmed it."""

GUESSED = "guessed:"


def is_guessed(group_by: str) -> bool:
    return group_by.startswith(GUESSED)


def rule_of(group_by: str) -> str:
    """Return the grouping rule without the prefix."""
    return group_by.removeprefix(GUESSED)
