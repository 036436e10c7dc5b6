"""One ``model.onnx`` (torch, onnx).

``graph`` writes it, in the form that ``folding`` gives, ``parity`` checks it, ``precision`` makes
it smaller, ``agreement`` says how much that moves. ``any_size`` makes one for other programs, with
``resizing``, ``region`` and ``nodes``, graphs written as arithmetic. (The package is not called
``export``: that is a function of the public door.)
"""
