"""One file per command that uses several rooms; nothing else may.

``check``, ``train`` (with ``preparation``, ``held_out``, ``record``), ``export``, ``inspect`` and
``watch`` (with ``recorder`` and ``moving``), ``calibrate`` (with ``examples``, ``kl_weight`` and
``marks``), ``evaluate``, ``benchmark`` (with ``advice``), ``sweep`` (with ``grid`` and ``study``),
``distill``; ``runs`` is a run folder, ``labelled`` a folder of known images and ``truth`` what is
known of them, ``api`` the commands as functions.
"""
