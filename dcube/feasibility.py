"""Check before any work starts whether stages can run with the given parameters.

These are the checks that the types of `Params` cannot make: names and sizes of networks, whether their weights are
available here, and the classes and the number of labels of the data set.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from dcube.artifacts.candidates import BASELINE, CLASSIFIER_KINDS, STAGES
from dcube.artifacts.schemas.dataset import DatasetInfo
from dcube.classifier.candidate import build_method
from dcube.classifier.class_balance import refuse_without_effect
from dcube.classifier.networks.contract import Task
from dcube.config.schema import Params
from dcube.engine.device import choose_device
from dcube.errors import DcubeError
from dcube.evaluation.operating_point import refuse_unknown_class
from dcube.features.sub_features import build_sub_network
from dcube.generative_metrics.class_counts import synthetic_counts
from dcube.generative_metrics.extractor import load_extractor

SOME_CLASSES = 2
FID_STAGES = {"train_diffusion", "track_fid"}
SUB_FEATURE_STAGES = {*(STAGES[name] for name in CLASSIFIER_KINDS), "probe"}
CLASSIFIER_STAGES = set(STAGES.values())


def refuse_infeasible(params: Params, dataset: DatasetInfo | None, stages: Collection[str] | None = None) -> None:
    """Refuse parameters with which a stage would fail. Downloads the weights that the stages need.

    Args:
        dataset: description of the prepared data set; None if it has not been prepared yet.
        stages: names of the stages in dvc.yaml that are about to run; None: all.

    Raises:
        DcubeError: if there are problems; its one line lists all of them.
    """
    problems = []
    for check in _checks(params, dataset, stages):
        try:
            check()
        except DcubeError as error:
            problems.append(str(error))
    if problems:
        raise DcubeError("; ".join(problems))


def _checks(
    params: Params, dataset: DatasetInfo | None, stages: Collection[str] | None
) -> Iterator[Callable[[], object]]:
    def any_of(names: set[str]) -> bool:
        return stages is None or not names.isdisjoint(stages)

    yield partial(choose_device, params.compute)
    if any_of(FID_STAGES):
        yield partial(load_extractor, params.fid, torch.device("cpu"))
    if any_of(SUB_FEATURE_STAGES):
        yield partial(_sub_features, params)
    if any_of({STAGES[BASELINE]}):
        yield partial(_baseline, params)
    if dataset:
        training = dataset.counts["train"]
        yield partial(refuse_unknown_class, params.evaluation, dataset.classes)
        if any_of({"synthesize"}):
            yield partial(synthetic_counts, training, params.synthesis.ratio, params.synthesis.maximum)
        if any_of(CLASSIFIER_STAGES):
            yield partial(_labels, params, training)


def _sub_features(params: Params) -> None:
    settings, size = params.classifier.sub_features, params.data.image_size
    where = "classifier.sub_features"
    with _named(where):
        network, _ = build_sub_network(settings, size, load_pretrained=True)
    _pass(network, torch.zeros(2, 3, size, size), f"{where}.architecture {settings.architecture}")


def _baseline(params: Params) -> None:
    baseline, data = params.baseline, params.data
    with _named("baseline"):
        network = build_method(baseline.method, Task(SOME_CLASSES, data.image_size, data.channels), baseline)
        refuse_without_effect(baseline.class_balance, network, baseline.method)
    images = torch.zeros(2, data.channels, data.image_size, data.image_size, dtype=torch.uint8)
    _pass(network, images, f"baseline.method {baseline.method}", ())


def _pass(network: nn.Module, images: torch.Tensor, where: str, *others: object) -> None:
    """Run one forward pass, because some networks accept small images when built but fail in their first pass."""
    try:
        with torch.no_grad():
            network.eval()(images, *others)
    except (AssertionError, RuntimeError, ValueError, IndexError) as error:
        size = images.shape[-1]
        reason = " ".join(str(error).split())[:160]
        raise DcubeError(
            f"{where} does not accept images of {size} × {size} ({reason}): choose another, or another data.image_size"
        ) from None


def _labels(params: Params, training: Mapping[str, int]) -> None:
    """Refuse a number of labels that is too small or too large, and batches that the processes cannot share equally."""
    available, count, processes = sum(training.values()), params.labels.count, params.compute.processes
    if count is not None and not len(training) <= count <= available:
        raise DcubeError(
            f"labels.count ({count}) must be from {len(training)}, the number of classes, to {available}, that of "
            "labelled training images"
        )
    images = available if count is None else count
    for name in ("classifier", "baseline"):
        group = getattr(params, name)
        batch = min(group.batch_size, images)
        if group.extra_images == "none" and (batch % processes or batch < 2 * processes):
            raise DcubeError(
                f"compute.processes ({processes}) must divide {name}'s batch of {batch} images into equal parts of two "
                "or more"
            )


@contextmanager
def _named(group: str) -> Iterator[None]:
    """Prefix errors about a network with the name of the parameter group that chooses it."""
    try:
        yield
    except DcubeError as error:
        raise DcubeError(f"{group}: {error}") from None
    except (AssertionError, RuntimeError, ValueError, IndexError) as error:
        raise DcubeError(f"{group}: {' '.join(str(error).split())[:200]}: choose another") from None
