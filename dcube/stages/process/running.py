"""Parameters of a stage, and how a stage runs and ends."""

import logging
import signal
import sys
import warnings
from collections.abc import Callable

from dcube.artifacts.layout import PARAMS
from dcube.config.loading import load_params, params_from
from dcube.config.schema import Params
from dcube.config.yaml_text import parse_yaml
from dcube.engine.checkpoint_cleanup import remove_recorded
from dcube.errors import one_line_errors
from dcube.tracking.inputs import inputs_at_start, refuse_changed_inputs, refuse_inputs_changed_on_import
from dcube.tracking.lineage import git_commit


def params() -> Params:
    """Return the validated parameters of this working copy; in a stage run by DVC, those at its process's start."""
    text = inputs_at_start().text
    return load_params(PARAMS) if text is None else params_from(parse_yaml(text, str(PARAMS)), str(PARAMS))


def run(main: Callable[..., None], *words: str) -> None:
    """Run a stage's `main` with the words of the command line.

    Errors that a user can correct end in one line and exit code 2, and Ctrl-C in one line and a shell's code for it.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for noisy in ("mlflow", "alembic", "botocore", "httpx", "matplotlib", "timm"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning)
    with one_line_errors():
        refuse_inputs_changed_on_import()
        git_commit()  # refuses another user's repository now, not after hours of work
        remove_recorded()
        try:
            main(*words)
        except KeyboardInterrupt:
            print("interrupted: `dvc repro` continues this stage", file=sys.stderr, flush=True)
            raise SystemExit(128 + signal.SIGINT) from None
        refuse_changed_inputs()
