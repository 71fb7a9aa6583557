"""JSON schema for the web form: plain titles, the order of `params.yaml`, and bounds in words."""

from typing import Any

SPELLED = {"ema": "EMA", "fid": "FID", "sha256": "SHA-256"}
BOUNDS = {
    "minimum": "at least {:.12g}",
    "exclusiveMinimum": "above {:.12g}",
    "maximum": "at most {:.12g}",
    "exclusiveMaximum": "below {:.12g}",
    "multipleOf": "a multiple of {:.12g}",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
}


def title(name: str, _: object) -> str:
    """Return the title of a field: `ema_decay` becomes `EMA decay`."""
    words = " ".join(SPELLED.get(word, word) for word in name.split("_"))
    return words[0].upper() + words[1:]


def arrange(schema: dict[str, Any]) -> None:
    """Number the fields of a model's JSON schema, and write their bounds into the help texts.

    A server's database may lose the order of keys, and a form shows a bound only after it was violated.
    """
    for position, field in enumerate(schema["properties"].values()):
        field["position"] = position
        bounds = ", ".join(words.format(field[key]) for key, words in BOUNDS.items() if key in field)
        if bounds:
            field["description"] += f" {bounds[0].upper()}{bounds[1:]}."
