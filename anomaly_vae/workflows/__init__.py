"""One file per command that uses several rooms; nothing else may.

``train`` (with ``preparation``, ``held_out``, ``record``), ``export``, ``inspect`` and ``watch``
(with ``recorder``), ``calibrate`` (with ``kl_weight``), ``evaluate``, ``benchmark``, ``sweep``
(with ``grid`` and ``study``); ``runs`` is a run folder, ``labelled`` a folder of known images,
``api`` the commands as functions.
"""
