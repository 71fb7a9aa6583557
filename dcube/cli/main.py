"""The command `dcube`. Slow imports are inside the commands, so that help appears at once."""

import typer

from dcube.cli import data, params
from dcube.cli.doctor import doctor
from dcube.cli.evaluate import evaluate
from dcube.cli.fetch import fetch
from dcube.cli.methods import methods
from dcube.cli.models import lineage, models, promote, reproduce, rollback
from dcube.cli.monitor import feedback, monitor
from dcube.cli.plan import plan
from dcube.cli.predict import predict
from dcube.cli.report import report
from dcube.cli.results import results
from dcube.cli.serve import serve
from dcube.cli.study import studies, study
from dcube.cli.ui import ui
from dcube.errors import one_line_errors
from dcube.runtime.processes import prepare_process

app = typer.Typer(
    help="From a folder of medical images to a diagnostic classifier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")
app.add_typer(params.app, name="params")
COMMANDS = (
    *(plan, results, report, predict, serve, evaluate, feedback, monitor, models, promote, rollback, lineage),
    *(reproduce, ui, fetch, doctor, study, studies, methods),
)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Run the command. Errors that a user can correct end in one line and exit code 2."""
    prepare_process()
    with one_line_errors():
        app()
