"""Recommenders: factorization of ratings, two towers, a denoising autoencoder."""

from dataclasses import KW_ONLY
from typing import ClassVar

import keras
import numpy as np
from keras import layers, ops

from kopt.models.base import Model, registry
from kopt.models.layers import HideSeen, Items
from kopt.tasks.task import Task
from kopt.values.checks import require
from kopt.values.fields import Number
from kopt.values.types import ArrayLike, FieldValue, KerasLayer

__all__ = ["Autoencoder", "Factorization", "TwoTower"]


@registry.register
class Factorization(Model):
    """The rating of an item by a user: start + bias of the user + bias of the item + user . item.

    The encoder numbers the users and items of the training split; all others are 0, whose vector is never trained.

    Args:
        users: Number of different users, >= 1; None in a recipe, whose data give it.
        items: Number of different items, >= 1; None in a recipe, whose data give it.
        width: Width of the vectors of users and items, >= 1.
        dropout: Share of both vectors dropped in training, in [0, 1).
        penalty: Strength of the squares of a rating's vectors and biases in its loss, >= 0. So a user with many ratings
            is penalized more, as in the paper's equation 5.
        start: About the mean of the ratings.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> Factorization(10, 20, width=3).build().count_params()
        128

    Source:
        Koren, Bell and Volinsky, Matrix Factorization Techniques for Recommender Systems, 2009, equation 4.
    """

    from_data: ClassVar[tuple[str, ...]] = ("users", "items")
    suits = {("pairs", "regression"): {}}
    users: int | None = None
    items: int | None = None
    _: KW_ONLY
    width: int = 16
    dropout: Number = 0.0
    penalty: Number = 0.0
    start: Number = 0.0
    inputs = (2,)
    outputs = 1

    @property
    def task(self) -> Task:
        return "regression"

    def check(self) -> None:
        for name in ("users", "items", "width"):
            require(getattr(self, name) is None or getattr(self, name) >= 1, name, "must be >= 1", getattr(self, name))
        require(0 <= self.dropout < 1, "dropout", "must be in [0, 1)", self.dropout)
        require(self.penalty >= 0, "penalty", "must be >= 0", self.penalty)

    def sizes_in(self, x: np.ndarray, outputs: int) -> dict[str, FieldValue]:
        users, items = (int(number) for number in x.max(0))  # the encoder has numbered them from 1 on
        return {"users": users, "items": items}

    def encoder(self, x: ArrayLike) -> keras.Model:
        pairs_of = x.ndim == 2 and x.shape[1] == 2 and np.all(x == np.floor(x))
        require(bool(pairs_of), "x", "must be pairs of whole numbers, user and item, (n, 2)", x.shape)
        found = [np.unique(column).astype("int64") for column in np.asarray(x).T]
        for name, most, numbers in zip(("users", "items"), (self.users, self.items), found):
            require(
                most is None or len(numbers) <= most, f"model.{name}", f"must be >= {len(numbers)} for these data", most
            )
        pairs = keras.Input((2,), dtype="int64")
        places = [layers.IntegerLookup(vocabulary=one)(pairs[:, place]) for place, one in enumerate(found)]
        return keras.Model(pairs, ops.stack(places, 1), name="numbers")

    def build(self) -> keras.Model:
        self.require_sizes("users", "items")
        assert self.users is not None and self.items is not None
        inputs = keras.Input((2,), dtype="int64")
        users, items = inputs[:, 0], inputs[:, 1]
        vectors = [self.table(self.users, self.width, "user")(users), self.table(self.items, self.width, "item")(items)]
        vectors = [layers.Dropout(self.dropout)(one) for one in vectors] if self.dropout else vectors
        biases = self.table(self.users, 1, "user_bias")(users) + self.table(self.items, 1, "item_bias")(items)
        rating = layers.Rescaling(1.0, self.start)(layers.Dot(1)(vectors) + biases)
        return keras.Model(inputs, rating, name="factorization")

    def table(self, size: int, width: int, name: str) -> KerasLayer:
        """Return a layer that looks rows up; row 0 stands for users or items that training does not have."""
        first = keras.initializers.RandomNormal(stddev=0.05) if "bias" not in name else "zeros"
        penalty = keras.regularizers.L2(self.penalty) if self.penalty else None
        return layers.Embedding(size + 1, width, embeddings_initializer=first, activity_regularizer=penalty, name=name)


@registry.register
class Autoencoder(Model):
    """Scores all items from those that a user has, some of which are hidden in training: a denoising autoencoder.

    scores = W2 tanh(W1 dropout(x / |x|) + b1) + b2; with `linear` no tanh. At inference known items score -1e9.

    Args:
        items: Number of items, >= 1; None in a recipe, whose data give it.
        width: Width of the hidden layer, >= 1.
        dropout: Share of the known items hidden in training, in [0, 1).
        linear: Whether the hidden layer is linear.

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> Autoencoder(20, width=4).build().count_params()
        184

    Source:
        Liang et al., Variational Autoencoders for Collaborative Filtering, 2018, Mult-DAE; Steck, Autoencoders that
        don't overfit towards the Identity, 2020, for the linear one.
    """

    from_data: ClassVar[tuple[str, ...]] = ("items",)
    suits = {("numbers", "ranking"): {}}
    items: int | None = None
    _: KW_ONLY
    width: int = 200
    dropout: Number = 0.5
    linear: bool = False

    @property
    def inputs(self) -> tuple[int, ...] | None:
        return None if self.items is None else (self.items,)

    @property
    def outputs(self) -> int | None:
        return self.items

    @property
    def task(self) -> Task:
        return "ranking"

    def check(self) -> None:
        require(self.items is None or self.items >= 1, "items", "must be >= 1", self.items)
        require(self.width >= 1, "width", "must be >= 1", self.width)
        require(0 <= self.dropout < 1, "dropout", "must be in [0, 1)", self.dropout)

    def sizes_in(self, x: np.ndarray, outputs: int) -> dict[str, FieldValue]:
        return {"items": x.shape[1]}

    def build(self) -> keras.Model:
        self.require_sizes("items")
        known = keras.Input((self.items,))
        x = layers.Dropout(self.dropout)(layers.UnitNormalization(dtype="float32")(known))
        x = layers.Dense(self.width, None if self.linear else "tanh")(x)
        return keras.Model(known, HideSeen()([layers.Dense(self.items)(x), known]), name="autoencoder")


@registry.register
class TwoTower(Model):
    """Scores all items from those that a user has: a tower for the user, a tower for the items, and their product.

    user = tanh(W relu(V dropout(x / |x|) + c) + d), item = tanh(table W' + d'), score = user . item / sqrt(width) +
    bias of the item. The items' vectors can be computed once and searched. At inference known items score -1e9.

    Args:
        items: Number of items, >= 1; None in a recipe, whose data give it.
        width: Width of the towers' vectors, >= 1.
        hidden: Width of the user tower's hidden layer, >= 1.
        dropout: Share of the known items hidden in training, in [0, 1).

    Raises:
        ValueError: When an argument is out of range.

    Example:
        >>> TwoTower(20, width=4, hidden=8).build().output_shape
        (None, 20)

    Source:
        Covington, Adams and Sargin, Deep Neural Networks for YouTube Recommendations, 2016.
    """

    from_data: ClassVar[tuple[str, ...]] = ("items",)
    items: int | None = None
    _: KW_ONLY
    width: int = 64
    hidden: int = 128
    dropout: Number = 0.5

    @property
    def inputs(self) -> tuple[int, ...] | None:
        return None if self.items is None else (self.items,)

    @property
    def outputs(self) -> int | None:
        return self.items

    @property
    def task(self) -> Task:
        return "ranking"

    def check(self) -> None:
        for name in ("items", "width", "hidden"):
            require(getattr(self, name) is None or getattr(self, name) >= 1, name, "must be >= 1", getattr(self, name))
        require(0 <= self.dropout < 1, "dropout", "must be in [0, 1)", self.dropout)

    def sizes_in(self, x: np.ndarray, outputs: int) -> dict[str, FieldValue]:
        return {"items": x.shape[1]}

    def build(self) -> keras.Model:
        self.require_sizes("items")
        assert self.items is not None
        known = keras.Input((self.items,))
        x = layers.Dropout(self.dropout)(layers.UnitNormalization(dtype="float32")(known))
        user = layers.Dense(self.width, "tanh")(layers.Dense(self.hidden, "relu")(x))
        return keras.Model(known, HideSeen()([Items(self.items)(user), known]), name="two_tower")
