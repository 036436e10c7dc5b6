"""The command that says what this machine can do."""

from ..console import talk

EXAMPLES = """
anomaly-vae doctor
anomaly-vae --log-file doctor.txt doctor
"""


def doctor() -> None:
    """Say what this machine can do, and why not more."""
    from anomaly_vae.inspection.diagnosis import diagnose

    for name, finding in diagnose():
        talk.say(f"{name:16s} {finding}")
