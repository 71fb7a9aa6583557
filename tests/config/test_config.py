"""params.yaml: bounds, unknown keys, presets."""

import pytest
import yaml
from pydantic import ValidationError

from dcube.config.loading import load_params, load_preset, params_from, parse_settings, preset_names
from dcube.config.schema import Baseline, Classifier, Group, Optimisation, Params
from dcube.config.yaml_text import parse_yaml
from dcube.errors import DcubeError
from tests.support.checkout import ROOT
from tests.support.parameter_limits import limits


def test_presets_of_the_paper_have_its_values() -> None:
    pancreas, breast = load_preset("pancreas"), load_preset("breast")
    assert (pancreas.data.image_size, pancreas.data.diffusion_image_size) == (256, 128)
    diffusion = pancreas.diffusion
    assert (diffusion.patch_size, diffusion.width, diffusion.depth, diffusion.heads) == (8, 512, 12, 8)
    assert (diffusion.batch_size, diffusion.learning_rate, diffusion.margin, diffusion.epochs) == (64, 2e-4, 0.1, 280)
    assert (pancreas.classifier.cycle_weight, breast.classifier.cycle_weight) == (10, 100)
    assert (breast.classifier.weight_decay, breast.classifier.epochs, breast.diffusion.epochs) == (0.1, 50, 950)
    assert load_preset("covid_radiography").diffusion.epochs == 730


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_read_back_as_written(name: str, tmp_path) -> None:
    preset = load_preset(name)
    (tmp_path / "params.yaml").write_text(preset.to_yaml())
    assert load_params(tmp_path / "params.yaml") == preset
    assert preset.data.name == name


def test_params_yaml_is_the_phantom_preset() -> None:
    """The texts are equal, because `dcube params use` does not overwrite an edited file and would stop `make demo`."""
    file = ROOT / "params.yaml"
    assert file.read_text(encoding="utf-8") == load_preset("phantom").to_yaml()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"diffusion": {"widht": 64}}, ["diffusion.widht", "did you mean width?"]),
        ({"classifer": {}}, ["classifer", "did you mean classifier?"]),
        ({"classifier": {"sub_features": {"stgae": 1}}}, ["classifier.sub_features.stgae", "did you mean stage?"]),
        ({"diffusion": {"epochs": 0}}, ["diffusion.epochs", "greater than 0", "got 0"]),
        ({"diffusion": {"width": 100, "heads": 8}}, ["multiple of 8"]),
        ({"diffusion": {"width": 104, "heads": 5}}, ["heads (5) must divide width (104)"]),
        ({"diffusion": {"patch_size": 7}}, ["must divide data.diffusion_image_size (128)"]),
        ({"data": {"name": "../escape"}}, ["data.name"]),
        ({"data": {"name": "$(touch x)"}}, ["data.name"]),
        ({"data": {"group_by": "patient"}}, ["data.group_by: ", "folder:2", "run:10", "pattern:patient[0-9]+", "got"]),
        ({"seed": 1}, ["unknown key seed (did you mean", "classifier.seed", "diffusion.seed"]),
        ({"sub_features": {"stage": 1}}, ["did you mean classifier.sub_features?"]),
        ({"data": {"fit": "squeeze"}}, ["data.fit", "'crop', 'pad' or 'stretch'"]),
        ({"classifier": {"timestep_high": 1000}}, ["1000 must be below diffusion.timesteps"]),
        ({"fid": {"sampling_steps": 1000}}, ["fid.sampling_steps (1000) must be below diffusion.timesteps (1000)"]),
        ({"synthesis": {"sampling_steps": 1000}}, ["synthesis.sampling_steps (1000) must be below"]),
        ({"classifier": {"use_sub_features": "yes"}}, ["use_sub_features", "valid boolean", "got 'yes'"]),
        ({"data": {"near_duplicates": 0}}, ["data.near_duplicates", "valid boolean"]),
        ("text", ["valid dictionary"]),
    ],
)
def test_wrong_value_is_refused_with_one_line_that_names_the_key(values, words) -> None:
    with pytest.raises(DcubeError) as caught:
        params_from(values, where="params.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in ["params.yaml", *words]), message


def test_parameters_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Params().diffusion.epochs = 3  # type: ignore[misc]


def test_every_field_has_a_description() -> None:
    def fields(model):
        for name, field in model.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                yield from fields(field.annotation)
            else:
                yield f"{model.__name__}.{name}", field.description

    assert [name for name, description in fields(Params) if not description] == []


def test_missing_file_and_invalid_yaml_are_refused(tmp_path) -> None:
    with pytest.raises(DcubeError, match="dcube params use"):
        load_params(tmp_path / "params.yaml")
    for content in (b"a: [", b"\xff", b"data: {name: a}\ndata: {name: b}", b"data: {name: 2024-99-99}"):
        (tmp_path / "params.yaml").write_bytes(content)
        with pytest.raises(DcubeError, match=r"params\.yaml is not valid YAML"):
            load_params(tmp_path / "params.yaml")


def test_yaml_is_read_as_dvc_reads_it(tmp_path) -> None:
    (tmp_path / "params.yaml").write_text(
        "synthesis: {ratio: {no: 2, yes: 1, 1e5 pos: 1}}\nfeatures: {images: 010}\ndiffusion: {learning_rate: 1e-4}\n"
    )
    params = load_params(tmp_path / "params.yaml")
    assert params.synthesis.ratio == {"no": 2, "yes": 1, "1e5 pos": 1}
    assert (params.features.images, params.diffusion.learning_rate) == (10, 1e-4)
    (tmp_path / "params.yaml").write_text(params.to_yaml())
    assert load_params(tmp_path / "params.yaml") == params
    with pytest.raises(DcubeError, match=r"diffusion\.epochs"):
        params_from(parse_yaml("diffusion: {epochs: 1:30}", "x"), "x")
    with pytest.raises(DcubeError, match=r"--set a=\["):
        parse_settings(["a=["])


def test_json_schema_has_bounds_and_choices() -> None:
    """The form of an orchestrator is built from the JSON schema."""
    schema = yaml.safe_load(yaml.safe_dump(Params.model_json_schema()))
    assert schema["$defs"]["Data"]["properties"]["fit"]["enum"] == ["crop", "pad", "stretch"]
    assert schema["$defs"]["Diffusion"]["properties"]["width"]["maximum"] == 2048


def accepts(group: type[Group], values: dict) -> bool:
    try:
        group.model_validate(values)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", Optimisation.model_fields)
def test_training_parameters_have_equal_bounds_in_all_groups(name: str) -> None:
    usual = Classifier().optimisation.model_dump()
    for group in (Classifier, Baseline):
        if field := group.model_fields.get(name):
            values = [value for value in limits(name, field.annotation, field.metadata) if value is not None]
            accepted = [accepts(group, {name: value}) for value in values]
            assert any(accepted) and accepted == [accepts(Optimisation, usual | {name: value}) for value in values]
