"""The steps joined: train a run folder, calibrate it, evaluate a model, inspect a folder.

Everything here works on files; what it returns is what a program would show to a person.
"""

STATE = ".state"
