"""Anomaly VAE: learn from photographs of good parts, find the defective ones.

The package is a line of steps; each file is one step and imports only from the steps before it:
images, features, model, training, scoring, calibration, evaluation, export, inspection, reporting.
Nothing is imported here, so that the inspection side starts without torch.
"""

__version__ = "0.1.0"
