"""Numbers about scores: thresholds, rates, drift, what the model card says. No torch, no files.

``intervals`` of rates and areas, ``planning`` how many images a promise takes; ``evidence`` the
good images that ``conformal`` sets limits from, ``days`` whether it holds on another; ``goals`` and
``roc`` the one from both kinds; ``metrics`` how good that is, ``comparison`` of two models,
``tradeoff`` of many; ``profile`` what good images look like, ``drift`` whether today's still do;
``seen`` which images a model knows; ``likeness`` to marked defects, ``kinds`` of them;
``sensitivity`` how much it finds of what is drawn; ``metadata`` its card.
"""
