"""`guessed:` before a value of `data.group_by`: `dcube plan` found it, and nobody has said that it is right."""

GUESSED = "guessed:"


def is_guessed(group_by: str) -> bool:
    return group_by.startswith(GUESSED)


def rule_of(group_by: str) -> str:
    """The rule alone, by which images are grouped."""
    return group_by.removeprefix(GUESSED)
