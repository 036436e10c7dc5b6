"""The loop, and what it learns from (torch).

``dataset`` the good images, read and split once; ``extraction`` what a VAE learns of them,
``augmentation`` parts that are drawn besides; ``loop`` the epochs, ``checkpoint`` where they go on
after an interruption, ``refit`` the second training, on all good images. ``distillation`` makes a
trunk, of ``crops`` of ``pictures``.
"""
