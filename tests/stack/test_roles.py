"""Who may do what in MLflow: the table of docs/platform.md, tried cell by cell on the running platform."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from dcube.config.schema import Params
from dcube.registry.pipeline_registration import headline
from dcube.registry.promotion import promote, propose, rollback
from dcube.registry.promotion_policy import PromotionPolicy
from dcube.registry.versions import CHALLENGER, CHAMPION, RegisteredModel
from flows.stack.settings import ADMINISTRATOR, Stack
from tests.support.checkout import ROOT
from tests.support.evaluated_candidates import run_pipeline

pytestmark = pytest.mark.slow
MODEL, PASSWORD = "dcube-ward", "twelve-letters"
GRANTS = {"reader": None, "submitter": "EDIT", "promoter": "MANAGE"}


def documented() -> dict[str, dict[str, bool]]:
    """Action → role → whether the table says yes."""
    (table,) = re.findall(r"^\| in MLflow .*?\n\n", (ROOT / "docs/platform.md").read_text(), re.MULTILINE | re.DOTALL)
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    return {row[0]: dict(zip(head[1:], (cell == "yes" for cell in row[1:]), strict=True)) for row in rows}


@dataclass
class Team:
    """An experiment with a run, a registered model, and a client for every role."""

    clients: dict[str, httpx.Client]
    experiment: str
    run: str

    def new_version(self) -> dict[str, str]:
        source = {"name": MODEL, "source": f"runs:/{self.run}/model", "run_id": self.run}
        made = self.clients["administrator"].post("/model-versions/create", json=source).raise_for_status()
        return {"name": MODEL, "version": str(made.json()["model_version"]["version"])}


@pytest.fixture(scope="module")
def team(platform: Stack) -> Team:
    base = f"{platform.mlflow_address}/api/2.0/mlflow"
    administrator = httpx.Client(base_url=base, auth=(ADMINISTRATOR, platform.secrets.mlflow_password), timeout=60)
    clients = {"administrator": administrator}

    def make(path: str, body: dict[str, str]) -> dict[str, dict[str, dict[str, str]]]:
        return administrator.post(path, json=body).raise_for_status().json()

    experiment = str(make("/experiments/create", {"name": "dcube/ward"})["experiment_id"])
    run = make("/runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
    make("/registered-models/create", {"name": MODEL})
    for role, grant in GRANTS.items():
        make("/users/create", {"username": role, "password": PASSWORD})
        clients[role] = httpx.Client(base_url=base, auth=(role, PASSWORD), timeout=60)
        for kind, name in (("experiment", experiment), ("registered_model", MODEL)) if grant else ():
            rights = {"username": role, "permission": grant, "resource_type": kind, "resource_id": name}
            grants(administrator, "grant", rights).raise_for_status()
    make("/users/create", {"username": "other", "password": PASSWORD})
    return Team(clients, experiment, run)


def grants(client: httpx.Client, what: str, rights: dict[str, str]) -> httpx.Response:
    return client.post(client.base_url.copy_with(path=f"/api/3.0/mlflow/users/permissions/{what}"), json=rights)


def give_rights(team: Team, client: httpx.Client) -> httpx.Response:
    rights = {"username": "other", "resource_type": "registered_model", "resource_id": MODEL}
    given = grants(client, "grant", {**rights, "permission": "READ"})
    grants(team.clients["administrator"], "revoke", rights)
    return given


ACTIONS: dict[str, Callable[[Team, httpx.Client], httpx.Response]] = {
    "see runs, models and artifacts": lambda team, client: client.get("/artifacts/list", params={"run_id": team.run}),
    "log to the experiment": lambda team, client: client.post("/runs/create", json={"experiment_id": team.experiment}),
    "register a version": lambda team, client: client.post(
        "/model-versions/create", json={"name": MODEL, "source": f"runs:/{team.run}/model", "run_id": team.run}
    ),
    "make a version champion": lambda team, client: client.post(
        "/registered-models/alias", json={**team.new_version(), "alias": "champion"}
    ),
    "delete a version": lambda team, client: client.request(
        "DELETE", "/model-versions/delete", json=team.new_version()
    ),
    "give others rights on the model": give_rights,
    "create accounts": lambda _, client: client.post(
        "/users/create", json={"username": f"by-{client.auth}", "password": PASSWORD}
    ),
}


@pytest.mark.parametrize(
    ("action", "role"), [(action, role) for action, roles in documented().items() for role in roles]
)
def test_role_has_exactly_the_documented_rights(team: Team, action: str, role: str) -> None:
    answer = ACTIONS[action](team, team.clients[role])
    if documented()[action][role]:
        assert answer.is_success, answer.text
    else:
        assert answer.status_code == 403, answer.text


def test_submitter_cannot_move_the_champion_by_another_route(team: Team) -> None:
    champion, submitter = team.new_version() | {"alias": "champion"}, team.clients["submitter"]
    pages = submitter.base_url.copy_with(path="/ajax-api/2.0/mlflow/registered-models/alias")
    assert submitter.post(pages, json=champion).status_code == 403
    assert submitter.request("DELETE", "/registered-models/alias", json=champion).status_code == 403
    assert submitter.request("DELETE", "/registered-models/alias", params=champion).status_code == 403
    assert submitter.post("/registered-models/alias", json=champion | {"alias": "challenger"}).is_success


def test_account_of_workers_registers_and_promotes(
    platform: Stack, working_copy: Path, tiny_params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in platform.client.items():
        monkeypatch.setenv(name, value)
    for seed, right in enumerate((20, 28)):
        monkeypatch.setenv("DCUBE_PIPELINE", f"pipeline-{seed}")
        registered_model = run_pipeline(tiny_params, seed, right)
    promote(registered_model, propose(registered_model, PromotionPolicy(bootstrap_samples=200)), "a person")
    assert registered_model.aliases()[CHAMPION] == registered_model.aliases()[CHALLENGER] == "2"
    rollback(registered_model, "a person", "a test")
    assert registered_model.aliases()[CHAMPION] == "1"
    assert_sorted_by_auroc(registered_model)


def assert_sorted_by_auroc(registered_model: RegisteredModel) -> None:
    """PostgreSQL sorts runs and models as MLflow's pages ask it to, those without the metric last."""
    client, (better, worse) = registered_model.client, registered_model.versions()
    experiment, metric = better.run.info.experiment_id, headline(CHALLENGER, "auroc")
    for order, versions in {"DESC": [better, worse], "ASC": [worse, better]}.items():
        runs = client.search_runs([experiment], order_by=[f"metrics.`{metric}` {order}"])
        found = [run.data.metrics.get(metric) for run in runs]
        assert found == [it.metrics["test.auroc"] for it in versions] + [None] * (len(found) - 2) and len(found) > 2
        by_auroc = {"field_name": "metrics.test.auroc", "ascending": order == "ASC"}
        models = client.search_logged_models([experiment], order_by=[by_auroc])
        assert [it.source_run_id for it in models] == [it.run_id for it in versions]


def test_every_documented_action_is_tested() -> None:
    assert ACTIONS.keys() == documented().keys()
