"""Iterators of a dataset, made at the moments at which Keras makes them."""

from kopt.values.types import Dataset, Nest


class Iterators:
    """Makes the iterators of a dataset when Keras makes them.

    Each iterator moves the state of a dataset that shuffles, so that its epochs have the order that they have in fit.

    Args:
        dataset: A tf.data.Dataset, or a distributed one.
        as_given: Whether it is a tf.data.Dataset of the user's.
        looked_at: Whether Keras would take a batch of an iterator of its own before it begins.
    """

    def __init__(self, dataset: Dataset, *, as_given: bool, looked_at: bool = False):
        self.dataset, self.as_given, self.looked_at = dataset, as_given, looked_at and as_given
        self.following: Nest = None  # the iterator of the next pass

    def reset(self) -> None:
        """Begin the data anew."""
        self.following = None
        if self.looked_at:
            next(iter(self.dataset), None)

    def take(self, goes_on: bool) -> Nest:
        """Return the iterator of a pass.

        Args:
            goes_on: Whether the pass takes the iterator that the end of the last pass has made.
        """
        found = self.following if goes_on and self.following is not None else iter(self.dataset)
        self.following = None
        return found

    def ended(self) -> None:
        """Make the iterator of the next pass, after one that has come to the end of the data."""
        if self.as_given:
            self.following = iter(self.dataset)
