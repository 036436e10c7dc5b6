"""What the VAE sees, and the VAEs (torch).

``features`` pixels, ``trunk`` the maps of a network of torchvision (``networks``, ``weights``)
or of our own (``student``; the folder ``embedded`` has its weights), in ``pieces`` where it is
large; ``alignment`` turns a part as the others lie; ``model`` what all VAEs share, and a linear
one, ``patch`` that of single places, ``volume`` that of stacks of slices, ``architectures`` the
others, ``objective`` what is minimised, ``sampling`` the points of their latent spaces, ``maps``
arithmetic that all need.
"""
