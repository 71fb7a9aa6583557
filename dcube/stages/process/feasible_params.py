"""Parameters of a training stage."""

from torch.distributed import is_torchelastic_launched

from dcube.artifacts.layout import DATASET, PREPARED
from dcube.artifacts.schemas.dataset import DatasetInfo
from dcube.config.schema import Params
from dcube.feasibility import refuse_infeasible
from dcube.runtime.settings import read_settings
from dcube.stages.process.running import params


def feasible_params() -> Params:
    """Return the parameters, after a check that this training and all stages that follow can run with them.

    Each training checks all stages, because any of them may be the first that runs, and may take days.
    """
    settings = params()
    if not is_torchelastic_launched():  # the process that launched this one has checked them
        refuse_infeasible(settings, DatasetInfo.load(PREPARED / DATASET), read_settings().stages_to_run)
    return settings
