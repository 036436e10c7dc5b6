"""The command that says how many images a promise takes."""

from typing import Annotated

import typer

from ..console import talk

EXAMPLES = """
anomaly-vae plan
anomaly-vae plan --false-alarm-rate 0.01 --escape-rate 0.05
"""


def plan(
    false_alarm_rate: Annotated[
        float, typer.Option(help="Share of the good parts that may be rejected.")
    ] = 0.01,
    escape_rate: Annotated[
        float, typer.Option(help="Share of the defective parts that may pass.")
    ] = 0.01,
    confidence: Annotated[float, typer.Option(help="How sure to be.")] = 0.95,
) -> None:
    """Say how many images it takes to promise error rates; none may be trained on."""
    from anomaly_vae.calibration.planning import plan_samples

    needed = plan_samples(false_alarm_rate, escape_rate, confidence)
    sure = f"with {confidence:g} confidence"
    talk.say(f"To reject at most {false_alarm_rate:g} of the good parts, set the threshold on")
    talk.say(f"  {needed.good_on_average:9,d} good images   to keep it on average")
    talk.say(f"  {needed.good_for_sure:9,d} good images   to keep it {sure}")
    for rate, counts, kind, what in (
        (false_alarm_rate, needed.good_test, "good", "be rejected"),
        (escape_rate, needed.defective_test, "defective", "pass"),
    ):
        talk.say(f"To prove a rate of at most {rate:g} {sure}, test with")
        for cases, count in enumerate(counts):
            talk.say(f"  {count:9,d} {kind} images   of which at most {cases} may {what}")
