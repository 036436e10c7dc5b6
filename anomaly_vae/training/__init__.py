"""The loop, and what it learns from (torch).

``dataset`` the good images, read once, and ``split`` which of them do what; ``extraction`` what a
VAE learns of them and ``items`` how batches of it are drawn, ``augmentation`` parts that are drawn
besides; ``loop`` the epochs, ``checkpoint`` where they go on after an interruption, ``position``
whether the VAE is told where it looks, ``folds`` the trainings that let each image be judged by a
model that has not seen it, ``refit`` a second training instead, on all good images.
``distillation`` makes a trunk, of ``crops`` of ``pictures``.
"""
