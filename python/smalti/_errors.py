"""The exceptions of smalti. Their messages are those of the program `smalti`."""


class Error(Exception):
    """Any error of smalti."""


class InputError(Error, ValueError):
    """A value, a setting or data that cannot be used."""


class FileError(Error, OSError):
    """A file or folder that cannot be read."""
