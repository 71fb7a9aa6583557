"""Text on a registered model's page and tag in the list of models that name the version of each alias.

Without it one would have to search for the champion, as the list of versions may be longer than a screen.
"""

import logging
from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dcube.registry.version_page import AUROC, KIND, MACRO_F1
from dcube.tracking.mlflow_client import after_collision, aliases_of, reason_of
from dcube.tracking.pages import version_page

TASK = (
    "All candidates for one task, D-Cube as well as its controls and baselines. "
    "`challenger`: the best by validation of the last pipeline. "
    "`champion`: the one to use; its predecessors, and who replaced them why: `dcube models --history`."
)
SHOWN = (AUROC.label, MACRO_F1.label)

logger = logging.getLogger(__name__)


def announce(client: MlflowClient, name: str, aliases: Sequence[str]) -> None:
    """Write the versions of these aliases at the top of the model's description, and the first alias also as a tag.

    The tag is for the list of models, which shows only the newest version's alias if there are several. Text that a
    person wrote in the description is kept. If MLflow fails, only a warning is logged, because the alias has moved.
    """
    try:
        after_collision()(_write, client, name, aliases)
    except (MlflowException, OSError) as error:
        logger.warning("warning: the page of %s in MLflow does not yet say who is champion: %s", name, reason_of(error))


def _write(client: MlflowClient, name: str, aliases: Sequence[str]) -> None:
    written: dict[str, str] | None = None
    while written != (held := aliases_of(client.get_registered_model(name))):  # another pipeline may move one meanwhile
        known = {alias: held[alias] for alias in aliases if alias in held}
        if version := known.get(aliases[0]):
            client.set_registered_model_tag(name, aliases[0], f"version {version}")
        own = [_paragraph(client, name, alias, version) for alias, version in known.items()]
        before = (client.get_registered_model(name).description or "").split("\n\n")
        kept = [paragraph for paragraph in before if not paragraph.startswith(tuple(map(_mark, aliases)))]
        client.update_registered_model(name, "\n\n".join([*own, *kept]))
        written = held


def _paragraph(client: MlflowClient, name: str, alias: str, version: str) -> str:
    known = client.get_model_version(name, version).tags
    words = [known.get(KIND, ""), *(f"{label} {known[label]}" for label in SHOWN if label in known)]
    link = f"[version {version}]({version_page('', name, version)})"
    return f"{_mark(alias)} {', '.join(filter(None, (link, *words)))}"


def _mark(alias: str) -> str:
    return f"**{alias}:**"
