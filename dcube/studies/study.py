"""A study: a small YAML file that defines what varies and what is reported. The package includes the paper's tables."""

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
TARGETS = {"fid": "track_fid"}  # `evaluation` has the target evaluate@MODEL, and `files` that of the study


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Row(Part):
    """One line of the table.

    Attributes:
        model: name of the evaluated candidate in `dvc.yaml`.
        settings: dotted parameter → value; they override the data set's and the study's.
        choose: dotted parameter → values to choose from on validation.
        paper: data set → values of `PAPER_METRICS` in the paper, in percent.
    """

    name: Name
    group: str = ""
    model: CandidateName = DCUBE
    settings: Settings = {}
    choose: Choices = {}
    paper: dict[str, Annotated[list[float], Field(min_length=4, max_length=4)]] = {}


class Sweep(Part):
    """A parameter at whose values every row is evaluated, so that the table becomes curves."""

    parameter: str
    title: str
    values: list[Any] = Field(min_length=2)


class DataSettings(Part):
    """Changes of a study for one data set, for instance its budget, and the reason (`note`).

    Attributes:
        choose: same as for a row; used for all rows with `model: baseline` that have no `choose` of their own.
    """

    settings: Settings = {}
    choose: Choices = {}
    note: str = ""


class Study(Part):
    """Definition of a study.

    Attributes:
        report: result of a trial: metrics on the test split, metrics of generated images, or unchanged files.
        metrics: columns of the table, by their names in `metrics.json` or `fid.json`.
        repeats: number of repeats of every trial.
        vary: parameters that get the number of the repeat (0, 1, 2 …), usually seeds.
        reference: row that all others are compared with.
        target: for `report: files`, the stage of dvc.yaml.
        files: for `report: files`, the outputs of that stage to report.
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
        """Return the stage of dvc.yaml that computes a row's results."""
        return self.target or TARGETS.get(self.report, f"evaluate@{row.model}")

    def name_of_repeat(self, repeat: int) -> str:
        """Return a name by the varied parameter, such as "seed 0" or "fold 2"; "repeat 1" if several are varied."""
        varied = {parameter.rpartition(".")[2] for parameter in self.vary}
        return f"{varied.pop()} {repeat}" if len(varied) == 1 else f"repeat {repeat + 1}"

    def choices_of(self, row: Row, data: str) -> Choices:
        """Return dotted parameter → values to choose from on validation."""
        common = self.data[data].choose if data in self.data and row.model == BASELINE else {}
        return row.choose or common


def study_names() -> list[str]:
    return sorted(p.name.removesuffix(".yaml") for p in _folder().iterdir() if p.name.endswith(".yaml"))


def load_study(name: str) -> Study:
    """Load a study of the package by name, or from a YAML file.

    Raises:
        DcubeError: if the study is unknown, if the file is not valid YAML, or if a key or a value is invalid.
    """
    if name in study_names():
        return study_from(parse_yaml((_folder() / f"{name}.yaml").read_bytes(), name), name)
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise DcubeError(f"no study {name!r}: choose from {', '.join(study_names())}, or give a .yaml file")
    return study_from(parse_yaml(path.read_bytes(), name), name)


def study_from(values: Any, where: str) -> Study:
    """Validate plain values and all settings in them; `where` names their source in errors."""
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
