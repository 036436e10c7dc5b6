"""The command that puts a candidate, or an earlier model, in the place of the model."""

from typing import Annotated

import typer

from ..console import talk
from ..options import Run

EXAMPLES = """
anomaly-vae promote run
anomaly-vae promote run --back
"""


def promote(
    run: Run,
    back: Annotated[
        bool, typer.Option("--back", help="Put the model before the present one back.")
    ] = False,
) -> None:
    """Put the candidate of improve in the place of the model, which is kept."""
    from anomaly_vae.workflows import promote as workflow

    change = workflow.go_back(run) if back else workflow.promote(run)
    talk.say(f"{run} has model {change.model} now; {change.before} lies in {change.archive}")
