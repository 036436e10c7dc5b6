"""What only a VAE can do (torch).

``space`` pictures of the latent space, ``diffusion`` draws from it, ``restoration`` the nearest
good part, ``collapse`` which dimensions are in use, ``information`` how much they say.
"""
