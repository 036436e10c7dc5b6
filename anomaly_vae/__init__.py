"""Anomaly VAE: learn from photographs of good parts, find the defective ones.

    from anomaly_vae import Inspector

    inspector = Inspector("run/model.onnx")
    finding = inspector.inspect("photos/today/000.png")
    print(finding.verdict, finding.score)

The names in ``__all__`` are the public door. They are loaded when they are first used (PEP 562):
importing the package loads neither torch nor onnxruntime, and inspecting never loads torch.

The rooms behind it stand in one line, and each imports only from those before it: settings, images,
vae, scoring, training, latent, calibration, exporting, inspection, reporting, workflows.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomaly_vae.errors import AnomalyVAEError
    from anomaly_vae.inspection.finding import Finding
    from anomaly_vae.inspection.inspector import Inspector
    from anomaly_vae.workflows.api import calibrate, evaluate, export, train

# Nothing leaves the machine. The runtime reads this when it is first imported, and everything that
# imports it imports this file before: it would look up a host, and keep a device id and a queue of
# events in the user's folder. (Its disable_telemetry_events() comes too late for that.)
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
__all__ = [
    "AnomalyVAEError",
    "Finding",
    "Inspector",
    "__version__",
    "calibrate",
    "evaluate",
    "export",
    "train",
]
_HOMES = {
    "AnomalyVAEError": "errors",
    "Finding": "inspection.finding",
    "Inspector": "inspection.inspector",
    **dict.fromkeys(("calibrate", "evaluate", "export", "train"), "workflows.api"),
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - as late as what it loads

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
