"""What a person can set: frozen dataclasses, and how files, names and ``KEY=VALUE`` become them.

``schema`` the settings, with meaning, unit and range, those of ``images`` by themselves, as a model
holds them; ``files`` YAML, presets and assignments; ``values`` the kinds of values that are no
plain numbers; ``masks`` a region of interest as text.
"""
