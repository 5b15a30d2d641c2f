"""Iterators of a dataset, made at the moments at which Keras makes them, and freed where that takes no time."""

import threading

import tensorflow as tf

from kopt import keras_internals as internals
from kopt.values.types import Dataset, Nest

ENDING = "kopt: an iterator ends"  # the name of threads


class Pass:
    """One pass over a dataset: the iterator, which its chunks have from here, so that it is freed when the pass ends.

    TensorFlow frees an iterator when the threads have ended that fill its buffers and tune them: up to 0.2 s.

    Args:
        iterator: The iterator.
        beside: Whether it is freed in a thread, while training goes on.

    Attributes:
        iterator: The iterator; None after the end.
    """

    def __init__(self, iterator: Nest, beside: bool):
        self.iterator, self.beside = iterator, beside

    def end(self) -> None:
        """Free the iterator."""
        last, self.iterator = [self.iterator], None
        if self.beside and last[0] is not None:
            threading.Thread(target=last.clear, name=ENDING).start()


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
        self.beside = isinstance(dataset, tf.data.Dataset) and internals.ends_unseen(dataset)
        self.following: Nest = None  # the iterator of the next pass

    def reset(self) -> None:
        """Begin the data anew."""
        self.following = None
        if self.looked_at:
            next(iter(self.dataset), None)

    def take(self, goes_on: bool) -> Pass:
        """Return a pass.

        Args:
            goes_on: Whether the pass takes the iterator that the end of the last pass has made.
        """
        found = self.following if goes_on and self.following is not None else iter(self.dataset)
        self.following = None
        return Pass(found, self.beside)

    def ended(self) -> None:
        """Make the iterator of the next pass, after one that has come to the end of the data."""
        if self.as_given:
            self.following = iter(self.dataset)
