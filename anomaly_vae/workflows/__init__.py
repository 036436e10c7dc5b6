"""One file per command that uses several rooms; nothing else may.

``check``, ``train`` (with ``detail``, ``preparation``, ``settling``, ``held_out``, ``sensitivity``,
``suspects``, ``record``), ``train_many`` (with ``parts_table``), ``export`` (with ``any_size``),
``inspect`` (with ``cluster``, which is reached by ``connecting``) and ``watch`` (with ``moving``),
both with ``recorder``; ``calibrate`` (with ``examples``, ``kl_weight`` and ``marks``), ``refine``
(with ``lesson`` and ``unseen``), ``kinds``, ``improve`` (with ``gathering``), ``promote``, ``log``;
``evaluate``, ``benchmark`` (with ``advice``), ``sweep`` (with ``grid`` and ``study``), ``distill``;
``generate``, ``interpolate``, ``latents``, ``decode``, ``restore`` and ``traverse`` (with
``opening``) show the latent space. ``runs`` is a run folder, ``labelled`` a folder of known images
and ``truth`` what is known of them, ``api`` the commands as functions.
"""
