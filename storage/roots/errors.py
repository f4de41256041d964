"""What goes wrong with a root: where, and what to do."""


class ConflictError(RuntimeError):
    """Another process wrote the file since it was read."""


class DamagedError(ValueError):
    """A file whose bytes are not those that its digest names: a flipped bit, a file cut off, a file overwritten."""

    def __init__(self, address: str, path: str, expected: str, found: str) -> None:
        super().__init__(address, path, expected, found)  # as arguments, so that it may cross processes
        self.address, self.path, self.expected, self.found = address, path, expected, found

    def __str__(self) -> str:
        return (
            f"{self.address}/{self.path}: damaged: its sha256 is {self.found}, expected {self.expected}; "
            f"`tastegraph verify --root {self.address} --repair` puts it back or removes it, and the next run computes "
            f"again what is missing"
        )


class DiskError(OSError):
    """The disk cannot hold what is to be written: it is full, read-only or broken."""


class StoreError(OSError):
    """The store cannot be used: no such bucket, no credentials, no permission, a request that it does not know."""


class UnavailableError(StoreError):
    """The store does not answer, or with errors of its own, however often it was asked: later it may."""
