"""What a registered model's page says above its versions, and its row in the list of models: who holds which alias.

The list of versions may be longer than a screen, and the champion far down in it.
"""

from mlflow import MlflowClient

from dcube.registry.version_page import AUROC, MACRO_F1
from dcube.tracking.mlflow_client import aliases_of
from dcube.tracking.pages import version_page

TOLD = (AUROC.label, MACRO_F1.label)


def announce(client: MlflowClient, name: str, shown: tuple[str, ...]) -> None:
    """Write the holders of these aliases to the registered model: a tag each, and a line each before its description.

    What somebody else wrote in the description stays.
    """
    held = aliases_of(client, name)
    lines = []
    for alias in shown:
        if version := held.get(alias):
            known = client.get_model_version(name, version).tags
            told = [known.get("kind", ""), *(f"{label} {known[label]}" for label in TOLD if label in known)]
            words = ", ".join(filter(None, told))
            lines.append(f"{_mark(alias)} [version {version}]({version_page('', name, version)}) {words}")
            client.set_registered_model_tag(name, alias, f"version {version}")
    before = client.get_registered_model(name).description or ""
    marks = tuple(map(_mark, shown))
    kept = [line for line in before.split("\n\n") if not line.startswith(marks)]
    client.update_registered_model(name, "\n\n".join([*lines, *kept]))


def _mark(alias: str) -> str:
    return f"**{alias}:**"
