"""NotWritten: the error of a model that cannot be written anywhere."""

from kopt.values.types import KerasModel

__all__ = ["NotWritten"]


class NotWritten(OSError):
    """Raised when a trained model could not be written anywhere; `model` holds the model.

    Example:
        >>> raise NotWritten("No space left on device", model=None)
        Traceback (most recent call last):
        kopt.report.not_written.NotWritten: model.keras could not be written (No space left on device).
    """

    def __init__(self, why: str, *, model: KerasModel):
        super().__init__(f"model.keras could not be written ({why}).")
        self.model = model
