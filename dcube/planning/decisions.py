"""Decisions that depend on the data set and the machine but not on the available time, each with its reason."""

from collections.abc import Mapping, Sequence

from dcube.config.guessed import GUESSED
from dcube.data.group_checks import BY_IMAGE, GroupCheck, describe_restart, names_patients
from dcube.errors import DcubeError
from dcube.planning.dataset_and_machine import DatasetFacts, Machine
from dcube.planning.params_draft import ParamsDraft

CUT = 0.05  # largest share of an image's area that may be cut off
AS_GOOD = 0.02  # if the falls in accuracy of two groupings differ by less, the finer grouping is used
RARE = 3.0  # ratio of the most frequent to the rarest class from which classes are balanced
FEW_TO_TEST = 1000  # with fewer labelled images, one test split says little
TESTED_FEATURES = 256  # images
SMALL_SET = 2000  # training images from which a batch has 64 images


def decide_data(draft: ParamsDraft, facts: DatasetFacts, keep_names: bool) -> None:
    report = facts.report
    colour = f"{facts.coloured:.0%} of {facts.examples} example images have colours"
    draft.decide(colour, data__channels=3 if facts.coloured else 1)
    part = f"up to {facts.cut_by_crop:.0%} of an image" if facts.cut_by_crop else "nothing of any image"
    cut = f"a centre crop would cut off {part}"
    draft.decide(cut, data__fit="pad" if facts.cut_by_crop > CUT else "crop")
    names = "asked for by --keep-names" if keep_names else "file names and patient ids stay inside data/"
    draft.decide(names, data__identifiers="kept" if keep_names else "hashed")
    labelled = report.images - report.unlabelled
    later = f", and part of {labelled} images is a small test: afterwards, `dcube study folds` tests each of them once"
    draft.decide(f"one split is one training{later if labelled < FEW_TO_TEST else ''}", data__folds=None)
    if report.grouping == "none" and report.patients:
        draft.decide("some images name no patient: metrics are likely too high", data__group_by=None)
    elif report.grouping == "none":
        _decide_groups(draft, report.group_checks)


def _decide_groups(draft: ParamsDraft, checks: Sequence[GroupCheck]) -> None:
    """Use groups that the names call patients, else the finest groups that show the leak."""
    largest = max((check.fall for check in checks), default=0.0)
    named = next((check for check in checks if names_patients(check.by)), None)
    leaking = next((check for check in checks if largest and check.fall >= largest - AS_GOOD), None)
    chosen = named or leaking
    if chosen is None:
        proposals = sum(check.by != BY_IMAGE for check in checks)
        found = f"{proposals} of `dcube data check`, none leaks measurably" if proposals else "none in the file names"
        reason = f"patients are unknown; proposed groups: {found}. Metrics are likely too high"
        draft.decide(reason, data__group_by=None)
        return
    fact = f"the file names seem to name {chosen.groups - len(chosen.strays)} patients" if named else _leak(chosen)
    confirm = "Check that they are what belongs together, and then remove 'guessed:'"
    reason = ". ".join([f"patients are unknown; {fact}", *describe_restart([chosen]), confirm])
    draft.decide(reason, data__group_by=f"{GUESSED}{chosen.by}")


def _leak(check: GroupCheck) -> str:
    return (
        f"the nearest image has the same class for {check.accuracy:.1%} of the images with these groups kept "
        f"together, for {check.at_random:.1%} with groups drawn at random"
    )


def decide_training(draft: ParamsDraft, facts: DatasetFacts, machine: Machine) -> None:
    """Decide training parameters: values from validation of short trainings (docs/results/earlier.md) and defaults."""
    batch = 32 if facts.training_images < SMALL_SET else 64
    draft.decide(
        f"{facts.training_images} labelled training images",
        diffusion__batch_size=batch,
        classifier__batch_size=batch,
        baseline__batch_size=batch,
    )
    _decide_balance(draft, facts.classes)
    draft.decide("learns faster than the paper's in short trainings", diffusion__prediction="v_prediction")
    draft.decide(
        "as in the presets that were tuned by hand for short trainings",
        diffusion__label_dropout=0.3,
        diffusion__contrastive_weight=0.1,
        diffusion__margin=1.0,
        diffusion__warmup_steps=100,
        diffusion__ema_decay=0.999,
        classifier__fused_channels=16,
        classifier__timestep_high=5,
        classifier__learning_rate=1e-3,
        classifier__ema_decay=0.99,
        baseline__optimiser="adamw",
        baseline__learning_rate=1e-3,
        baseline__weight_decay=0.03,
        baseline__ema_decay=0.99,
    )
    draft.decide(
        "its ImageNet weights come with the installation",
        classifier__sub_features__architecture="tf_efficientnet_lite0",
        classifier__sub_features__stage=-2,
        classifier__sub_features__weights="package",
        fid__extractor="efficientnet_lite0",
        fid__resize=64,
    )
    draft.decide(
        "trained from scratch, beside the pretrained control", baseline__method="resnet18", baseline__weights="none"
    )
    draft.decide("DPM-Solver++ needs no more", fid__sampling_steps=20, synthesis__sampling_steps=20)
    tested = min(TESTED_FEATURES, facts.images_of_stage_1)
    draft.decide(f"{tested} of {facts.images_of_stage_1} training images", features__images=tested)
    _decide_processes(draft, machine.gpus)


def _decide_processes(draft: ParamsDraft, gpus: int) -> None:
    """Use one process per GPU, or the next smaller number that divides all batch sizes, also those set by hand."""
    for count in range(gpus, 1, -1):
        try:
            draft.params(compute__processes=count)
        except DcubeError:
            continue
        which = "one for each" if count == gpus else "as many as divide every batch,"
        draft.decide(f"{which} of {gpus} GPUs", compute__processes=count)
        return


def _decide_balance(draft: ParamsDraft, classes: Mapping[str, int]) -> None:
    rarest, *_, most = sorted(classes, key=classes.__getitem__)
    ratio = classes[most] / classes[rarest]
    frequencies = f"training images: {classes[most]} of {most} and {classes[rarest]} of {rarest} (1:{ratio:.1f})"
    if ratio < RARE:
        draft.decide(frequencies, classifier__class_balance="none", baseline__class_balance="none")
        return
    draft.decide(
        f"{frequencies}: without it the rare class is overlooked",
        classifier__class_balance="logit_adjustment",
        baseline__class_balance="logit_adjustment",
    )
