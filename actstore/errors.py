"""What can go wrong, one family: every message is one line that says what was given, what is needed, what to do."""


class ActstoreError(Exception):
    """The base of every error that this package raises on purpose."""


class StoreError(ActstoreError):
    """A store cannot be written, opened or read as asked."""


class InUseError(StoreError):
    """A store that another process is writing: the same command may succeed later."""


class LayerError(ActstoreError, KeyError):
    """A layer that is not there, or that cannot be stored. A KeyError too, so that ``layers.get`` works."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


class TargetError(ActstoreError, KeyError):
    """A target that is not there. A KeyError too, so that ``targets.get`` works."""

    __str__ = Exception.__str__


class SourceError(ActstoreError):
    """Inputs or labels that cannot be read as asked."""


class AdapterError(ActstoreError):
    """A model whose activations cannot be captured as asked."""


class DumpError(ActstoreError):
    """A dump that cannot start or go on as asked."""


class RowError(DumpError):
    """One row that cannot be dumped: ``row`` is its place in the batch, ``what`` the rest of the sentence."""

    def __init__(self, row: int, what: str) -> None:
        super().__init__(f"row {row} of the batch {what}")
        self.row, self.what = row, what
