"""Presets: what differs from the defaults for a source of features."""
