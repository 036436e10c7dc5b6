"""A ``model.onnx`` at work: ONNX Runtime, no torch.

``providers`` what can run it, ``fields`` what it says of itself, ``runtime`` the model on a device
(``busy`` for how long), ``reading`` files for it, ``inspector`` photographs in and ``finding`` out,
``kinds`` what a region looks like;
``several`` models for the same photographs; ``watching`` waits for them, ``diagnosis`` says what
this machine can do.
"""
