"""Errors that the command line answers differently, in a module that costs nothing to import."""


class SettingsError(ValueError):
    """A setting that does not exist, or a value it cannot take."""
