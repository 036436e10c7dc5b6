"""What the VAE sees, and the VAEs (torch).

``features`` pixels, ``trunk`` the maps of a network of torchvision (``networks``, ``weights``)
or of our own (``student``; the folder ``embedded`` has its weights); ``alignment`` turns a part as
the others lie; ``model`` what all VAEs share and the two of the defaults, ``architectures`` the
others, ``objective`` what is minimised, ``sampling`` the points of their latent spaces, ``maps``
arithmetic that all need, ``pieces`` a trunk over strips or a part of a frame.
"""
