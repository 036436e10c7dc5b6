"""Everything that a user can fix, as one tree of exceptions.

    AnomalyVAEError
    ├── ConfigError        a setting is unknown, mistyped or out of range
    ├── FolderError        a folder is missing, empty, or not laid out as expected
    ├── ImageReadError     one image file cannot be used
    ├── InputError         what ``Inspector.inspect`` was given is no photograph
    ├── WeightsError       the weights of a trunk are missing or do not fit it
    ├── TrainingError      the training cannot start, go on, or give a usable model
    ├── CalibrationError   the scores at hand do not support the threshold asked for
    ├── ExportError        the exported model does not compute what the trained one does
    ├── ModelFileError     a file is not a model of this program, or is damaged
    ├── DeviceError        the processor asked for cannot run the model
    └── OutputError        results cannot be written where they were asked for

Each message names the value, what was expected, and the remedy, in one line.
"""


class AnomalyVAEError(Exception):
    """Base of all errors that the user of the program can fix."""


class ConfigError(AnomalyVAEError):
    """A setting is unknown, mistyped or out of range."""

    def __init__(self, message: str, mistakes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.mistakes = mistakes
        """What is wrong with the settings, one by one, where it is known so."""


class FolderError(AnomalyVAEError):
    """A folder is missing, holds no images, or is not laid out as expected."""


class ImageReadError(AnomalyVAEError):
    """One image file cannot be used; the message is the reason, without the path."""


class InputError(AnomalyVAEError):
    """What ``Inspector.inspect`` was given is no photograph, nor a file of one."""


class WeightsError(AnomalyVAEError):
    """Trunk weights are missing, or do not fit the trunk."""


class TrainingError(AnomalyVAEError):
    """The training cannot start, go on, or give a usable model."""


class CalibrationError(AnomalyVAEError):
    """The scores at hand do not support the threshold that was asked for."""


class ExportError(AnomalyVAEError):
    """The exported model does not compute what the trained model computes."""


class ModelFileError(AnomalyVAEError):
    """A file is not a model of this program, or it is damaged."""


class DeviceError(AnomalyVAEError):
    """The processor that was asked for cannot run the model."""


class OutputError(AnomalyVAEError):
    """Results cannot be written where they were asked for."""
