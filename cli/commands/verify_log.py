"""The command that checks the log of a run."""

from typing import Annotated

import typer

from ..console import talk
from ..options import Run

EXAMPLES = """
anomaly-vae verify-log run
"""


def verify_log(
    run: Run,
    noted: Annotated[
        str, typer.Option(help="Hash of a line that was noted down; it must still be there.")
    ] = "",
) -> None:
    """Check that nobody has changed the log of a run, and print it."""
    from anomaly_vae.workflows.log import verified

    entries, last = verified(run, noted)
    for each in entries:
        talk.say(f"{each['line']:4d}  {each['time']}  {each['model']}  {each['action']:10s} "
                 f"{each['user']}")  # fmt: skip
    talk.say(f"all {len(entries)} lines follow each other; the last one names the model there is")
    talk.say(f"hash of the last line, to note down elsewhere: {last}")
