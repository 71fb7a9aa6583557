"""`dcube report --checklist`: answers to the items of reporting guidelines, as far as a run can give them."""

from importlib import resources
from typing import Any

from dcube.artifacts.markdown import markdown_table
from dcube.config.yaml_text import parse_yaml
from dcube.report import checklist_facts
from dcube.report.material import Material

FOR_A_PERSON = "**for a person to write**"


def checklist(material: Material) -> str:
    """Return all guidelines with their answers as one Markdown text."""
    text = (resources.files("dcube.report") / "checklists.yaml").read_bytes()
    parts = [
        f"# {material.title}: reporting checklists",
        f"The answers about {material.model} are taken from {material.origin}. Check them: nothing is known there of "
        "your study but the images, their labels and this training. Items without an answer are marked "
        f"“{FOR_A_PERSON.strip('*')}”.",
    ]
    for guideline in parse_yaml(text, "checklists.yaml"):
        rows = [(number, item["asks"], _answer(item, material)) for number, item in guideline["items"].items()]
        answered = sum(answer != FOR_A_PERSON for _, _, answer in rows)
        parts += [
            f"## {guideline['name']}",
            f"{guideline['reference']}. {answered} of {len(rows)} items are answered, as far as a run can.",
            markdown_table(("item", "asks for", "answer"), rows),
        ]
    return "\n\n".join(parts) + "\n"


def _answer(item: dict[str, Any], material: Material) -> str:
    known = (getattr(checklist_facts, name)(material) for name in item.get("facts", ()))
    return " ".join(filter(None, known)) or FOR_A_PERSON
