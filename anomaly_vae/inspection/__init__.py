"""A ``model.onnx`` at work: ONNX Runtime, no torch.

``providers`` what can run it, ``fields`` what it says of itself, ``runtime`` the model on a device,
``inspector`` photographs in and ``finding`` out; ``watching`` waits for them, ``diagnosis`` says
what this machine can do.
"""
