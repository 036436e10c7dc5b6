"""Reconstruction error and KL divergence, joined into one anomaly score and one map (torch).

``detector`` the formula, from pixels to score: what is exported; ``factory`` makes one of settings,
``likeness`` what marked defects taught it, ``batches`` runs one on
many images, ``drawing`` shows what it expects to see.
"""
