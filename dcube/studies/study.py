"""A study: what varies and what is reported, as a small YAML file. The paper's tables come with the package."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dcube.artifacts.candidates import BASELINE, DCUBE, CandidateName
from dcube.config.loading import with_overrides
from dcube.config.schema import Params
from dcube.config.yaml_text import parse_yaml
from dcube.errors import DcubeError
from dcube.evaluation.metrics import HEADLINES, metric_of

Settings = dict[str, Any]
Choices = dict[str, list[Any]]
Name = Annotated[str, Field(min_length=1, max_length=80)]
Report = Literal["evaluation", "fid", "files"]
PAPER_METRICS = ("accuracy", "macro_precision", "macro_recall", "macro_f1")  # in the order of the paper's tables
TARGETS = {"fid": "track_fid"}  # of `evaluation` it is evaluate@MODEL, of `files` the study says it


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Row(Part):
    """One line of the table.

    Attributes:
        model: candidate that is evaluated, as `dvc.yaml` names them.
        settings: dotted parameter → value; they override the data set's and the study's.
        choose: dotted parameter → values, of which validation chooses one.
        paper: data set → the paper's values of `PAPER_METRICS`, in percent.
    """

    name: Name
    group: str = ""
    model: CandidateName = DCUBE
    settings: Settings = {}
    choose: Choices = {}
    paper: dict[str, Annotated[list[float], Field(min_length=4, max_length=4)]] = {}


class Sweep(Part):
    """A parameter whose values every row is measured at: the table becomes a curve."""

    parameter: str
    title: str
    values: list[Any] = Field(min_length=2)


class DataSettings(Part):
    """What a study changes for one data set, its budget for instance, and why.

    Attributes:
        choose: as of a row, for all rows with `model: baseline` that have no choice of their own.
    """

    settings: Settings = {}
    choose: Choices = {}
    note: str = ""


class Study(Part):
    """Attributes:
    report: what a trial yields: metrics of the test split, of generated images, or files as they are.
    metrics: columns of the table, by their names in `metrics.json` or `fid.json`.
    repeats: how often every trial is computed, `vary` being 0, 1, 2 … then.
    vary: parameters that number the repeats.
    reference: row that all others are compared with.
    target, files: of `files`: the stage of dvc.yaml, and what of its outputs is reported.
    """

    title: str
    about: str = ""
    report: Report = "evaluation"
    metrics: list[str] = [metric.name for metric in HEADLINES]
    repeats: Annotated[int, Field(ge=1, le=100)] = 5
    vary: list[str] = ["classifier.seed", "baseline.seed"]
    reference: str | None = None
    settings: Settings = {}
    data: dict[str, DataSettings] = {}
    sweep: Sweep | None = None
    rows: list[Row] = Field(min_length=1)
    target: str | None = None
    files: list[str] = []

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError("two rows have one name")
        if self.reference is not None and self.reference not in names:
            raise ValueError(f"reference {self.reference!r} is not a row: {', '.join(names)}")
        if (self.report == "files") != bool(self.target and self.files):
            raise ValueError("target and files belong to report: files")
        return self

    def target_of(self, row: Row) -> str:
        """The stage of dvc.yaml whose result a row is made from."""
        return self.target or TARGETS.get(self.report, f"evaluate@{row.model}")

    def name_of_repeat(self, repeat: int) -> str:
        """By what it varies, where that is one thing: "seed 0", "fold 2"; else "repeat 1"."""
        varied = {parameter.rpartition(".")[2] for parameter in self.vary}
        return f"{varied.pop()} {repeat}" if len(varied) == 1 else f"repeat {repeat + 1}"

    def choices_of(self, row: Row, data: str) -> Choices:
        """Dotted parameter → values, of which validation chooses one."""
        common = self.data[data].choose if data in self.data and row.model == BASELINE else {}
        return row.choose or common


def study_names() -> list[str]:
    return sorted(p.name.removesuffix(".yaml") for p in _folder().iterdir() if p.name.endswith(".yaml"))


def load_study(name: str) -> Study:
    """The study of that name, or in that file.

    Raises:
        DcubeError: unknown, no YAML, or with a key or a value that no study has.
    """
    if name in study_names():
        return study_from(parse_yaml((_folder() / f"{name}.yaml").read_bytes(), name), name)
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise DcubeError(f"no study {name!r}: choose from {', '.join(study_names())}, or give a .yaml file")
    return study_from(parse_yaml(path.read_bytes(), name), name)


def study_from(values: Any, where: str) -> Study:
    """Check plain values, and every setting in them against the parameters; `where` says in errors where they are."""
    try:
        study = Study.model_validate(values)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in error.errors()]
        raise DcubeError(f"study {where}: {'; '.join(problems)}") from None
    _check_settings(study, where)
    return study


def _check_settings(study: Study, where: str) -> None:
    for name in study.metrics:
        metric_of(name)
    for choices in (row.choose for row in study.rows):
        _check_values(choices, f"study {where}, choose")
    for own in study.data.values():
        _check_values(own.choose, f"study {where}, choose")
    for parameter in study.vary:
        _check({parameter: 0}, f"study {where}, vary")
    for value in study.sweep.values if study.sweep else ():
        assert study.sweep
        _check({study.sweep.parameter: value}, f"study {where}, sweep")


def _check_values(choices: Choices, where: str) -> None:
    for parameter, values in choices.items():
        for value in values:
            _check({parameter: value}, where)


def _check(settings: Mapping[str, Any], where: str) -> None:
    with_overrides(Params(), settings, where)


def _folder() -> Any:
    return resources.files("dcube") / "studies"
