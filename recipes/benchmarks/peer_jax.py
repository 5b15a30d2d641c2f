"""The works by hand in JAX: an epoch is one compiled scan over steps, metrics included."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from works import Work

__all__ = ["epochs"]


def normalized(x: Any, scale: Any, offset: Any) -> Any:
    """Apply layer normalization."""
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5) * scale + offset


def mlp(w: Sequence[Any], x: Any) -> Any:
    return jax.nn.relu(x @ w[0] + w[1]) @ w[2] + w[3]


def convnet(w: Sequence[Any], x: Any) -> Any:
    for kernel, bias in ((w[0], w[1]), (w[2], w[3])):
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.nn.relu(jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout) + bias)
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return x.reshape(len(x), -1) @ w[4] + w[5]


def transformer(w: Sequence[Any], x: Any) -> Any:
    x = w[0][x]
    for first in (1, 17):
        scale, offset, wq, bq, wk, bk, wv, bv, wo, bo, scale_2, offset_2, w1, b1, w2, b2 = w[first : first + 16]
        n = normalized(x, scale, offset)
        q, k, v = (jnp.einsum("btd,dhk->bthk", n, kernel) + b for kernel, b in ((wq, bq), (wk, bk), (wv, bv)))
        scores = jax.nn.softmax(jnp.einsum("bqhk,bthk->bhqt", q / 4, k), axis=-1)
        x = x + jnp.einsum("bqhk,hkd->bqd", jnp.einsum("bhqt,bthk->bqhk", scores, v), wo) + bo
        n = normalized(x, scale_2, offset_2)
        x = x + jax.nn.relu(n @ w1 + b1) @ w2 + b2
    return x.mean(1) @ w[33] + w[34]


def factorization(w: Sequence[Any], x: Any) -> Any:
    return (w[0][x[0]] * w[1][x[1]]).sum(-1)


def recurrent(w: Sequence[Any], x: Any) -> Any:
    kernel, recurrent_kernel, bias = w[:3]
    inputs = jnp.swapaxes(x @ kernel + bias[0], 0, 1)

    def step(h: Any, x: Any) -> tuple[Any, None]:
        xz, xr, xh = jnp.split(x, 3, -1)
        hz, hr, hh = jnp.split(h @ recurrent_kernel + bias[1], 3, -1)
        z, r = jax.nn.sigmoid(xz + hz), jax.nn.sigmoid(xr + hr)
        return z * h + (1 - z) * jnp.tanh(xh + r * hh), None

    h, _ = jax.lax.scan(step, jnp.zeros((len(x), 64)), inputs)
    return h @ w[3] + w[4]


NETWORKS: dict[str, Callable[..., Any]] = {
    "10-5-1, batch 1": mlp,
    "10-5-1, batch 64": mlp,
    "digits MLP": mlp,
    "MLP 784": mlp,
    "CNN": convnet,
    "transformer": transformer,
    "factorization": factorization,
    "GRU": recurrent,
}


def epochs(name: str, work: Work, weights: Sequence[np.ndarray]) -> Callable[[np.ndarray], dict[str, float]]:
    """Return a function that trains for an epoch in a given order and returns the mean loss and the metric."""
    network = NETWORKS[name]
    x, y = jax.tree.map(jnp.asarray, work.arrays())
    count, tail = divmod(len(y), work.batch)

    def loss_of(w: Any, x: Any, y: Any) -> tuple[Any, Any]:
        out = network(w, x)
        if work.loss == "mse":
            return ((out - y) ** 2).mean(), jnp.abs(out - y).mean()
        chosen = jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], axis=1)
        return -chosen.mean(), (out.argmax(-1) == y).mean()

    def update(state: Any, gradients: Any) -> Any:
        w, m, v, t = state
        if work.optimizer == "sgd":
            return [p - work.rate * g for p, g in zip(w, gradients)], m, v, t
        t = t + 1
        rate = work.rate * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        m = [a + (g - a) * 0.1 for a, g in zip(m, gradients)]
        v = [a + (g * g - a) * 0.001 for a, g in zip(v, gradients)]
        return [p - rate * a / (jnp.sqrt(b) + 1e-7) for p, a, b in zip(w, m, v)], m, v, t

    def step(rows: Any, carry: Any) -> Any:
        state, sums = carry
        batch = jax.tree.map(lambda leaf: leaf[rows], (x, y))
        (loss, metric), gradients = jax.value_and_grad(loss_of, has_aux=True)(state[0], *batch)
        size = len(rows)
        return update(state, gradients), (sums[0] + loss * size, sums[1] + metric * size)

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(state: Any, order: Any) -> Any:
        carry = state, (0.0, 0.0)
        whole = order[: count * work.batch].reshape(count, work.batch)
        carry, _ = jax.lax.scan(lambda carry, rows: (step(rows, carry), None), carry, whole)
        return step(order[count * work.batch :], carry) if tail else carry

    zeros = [jnp.zeros_like(w) for w in weights]
    state = [jnp.asarray(w) for w in weights], zeros, [z + 0 for z in zeros], jnp.float32(0)

    def run(order: np.ndarray) -> dict[str, float]:
        nonlocal state
        state, sums = epoch(state, order)
        return {"loss": float(sums[0]) / len(y), "metric": float(sums[1]) / len(y)}

    return run
