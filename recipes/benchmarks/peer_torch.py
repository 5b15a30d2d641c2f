"""The works in PyTorch, eager and compiled, in the way its users write them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from works import Work

__all__ = ["NETWORKS", "Peer"]


def linear(kernel: np.ndarray, bias: np.ndarray) -> nn.Linear:
    layer = nn.Linear(*kernel.shape)
    assert layer.bias is not None
    layer.weight.data, layer.bias.data = torch.tensor(kernel.T.copy()), torch.tensor(bias)
    return layer


def mlp(w: Sequence[np.ndarray]) -> nn.Module:
    return nn.Sequential(linear(w[0], w[1]), nn.ReLU(), linear(w[2], w[3]))


class ConvNet(nn.Module):
    """A small CNN; channels come last in the data and in the flattened features, as in Keras."""

    def __init__(self, w: Sequence[np.ndarray]):
        super().__init__()
        self.convolutions = nn.ModuleList()
        for kernel, bias in ((w[0], w[1]), (w[2], w[3])):
            layer = nn.Conv2d(kernel.shape[2], kernel.shape[3], 3, padding=1)
            layer.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
            layer.bias = nn.Parameter(torch.tensor(bias))
            self.convolutions.append(layer)
        self.last = linear(w[4], w[5])

    def forward(self, x: Any) -> Any:
        x = x.permute(0, 3, 1, 2)
        for layer in self.convolutions:
            x = functional.max_pool2d(functional.relu(layer(x)), 2)
        return self.last(x.permute(0, 2, 3, 1).flatten(1))


class Block(nn.Module):
    """A transformer block: attention and a hidden layer, each after a normalization and with a residual connection."""

    def __init__(self, w: Sequence[np.ndarray]):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(64, eps=1e-5) for _ in range(2)])
        joined = np.concatenate([w[place].reshape(64, 64) for place in (2, 4, 6)], axis=1)
        self.qkv = linear(joined, np.concatenate([w[place].reshape(64) for place in (3, 5, 7)]))
        self.out = linear(w[8].reshape(64, 64), w[9])
        self.hidden = nn.Sequential(linear(w[12], w[13]), nn.ReLU(), linear(w[14], w[15]))

    def forward(self, x: Any) -> Any:
        q, k, v = self.qkv(self.norms[0](x)).view(*x.shape[:2], 3, 4, 16).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(attended.transpose(1, 2).reshape(x.shape))
        return x + self.hidden(self.norms[1](x))


class Transformer(nn.Module):
    def __init__(self, w: Sequence[np.ndarray]):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(torch.tensor(w[0]), freeze=False)
        self.blocks = nn.Sequential(Block(w[1:17]), Block(w[17:33]))
        self.last = linear(w[33], w[34])

    def forward(self, x: Any) -> Any:
        return self.last(self.blocks(self.embedding(x)).mean(1))


class Factorization(nn.Module):
    def __init__(self, w: Sequence[np.ndarray]):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding.from_pretrained(torch.tensor(one), freeze=False) for one in w])

    def forward(self, pair: Any) -> Any:
        return (self.tables[0](pair[0]) * self.tables[1](pair[1])).sum(-1)


class Recurrent(nn.Module):
    def __init__(self, w: Sequence[np.ndarray]):
        super().__init__()
        self.gru = nn.GRU(16, 64, batch_first=True)
        reordered = [np.concatenate([part[..., 64:128], part[..., :64], part[..., 128:]], -1) for part in w[:3]]
        self.gru.weight_ih_l0.data = torch.tensor(reordered[0].T.copy())
        self.gru.weight_hh_l0.data = torch.tensor(reordered[1].T.copy())
        self.gru.bias_ih_l0.data, self.gru.bias_hh_l0.data = map(torch.tensor, reordered[2])
        self.last = linear(w[3], w[4])

    def forward(self, x: Any) -> Any:
        return self.last(self.gru(x)[0][:, -1])


NETWORKS: dict[str, Callable[[Sequence[np.ndarray]], nn.Module]] = {
    "10-5-1, batch 1": mlp,
    "10-5-1, batch 64": mlp,
    "digits MLP": mlp,
    "MLP 784": mlp,
    "CNN": ConvNet,
    "transformer": Transformer,
    "factorization": Factorization,
    "GRU": Recurrent,
}


def measuring(network: nn.Module, kind: str) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Return a function that returns the loss and the metric of a batch."""

    def forward(x: Any, y: Any) -> tuple[Any, Any]:
        out = network(x)
        if kind == "mse":
            return functional.mse_loss(out, y), (out - y).abs().mean()
        return functional.cross_entropy(out, y), (out.argmax(-1) == y).float().mean()

    return forward


class Peer:
    """A work in PyTorch: a network with a work's first weights, its fused optimizer, and the data as tensors.

    Attributes:
        forward: A function that returns the loss and the metric of a batch.
    """

    def __init__(self, name: str, work: Work, weights: Sequence[np.ndarray], compiled: bool = False):
        self.work, self.network = work, NETWORKS[name](weights)
        self.x, self.y = self.tensors(*work.arrays())
        if work.optimizer == "sgd":
            self.optimizer: Any = torch.optim.SGD(self.network.parameters(), work.rate, fused=True)
        else:
            self.optimizer = torch.optim.Adam(self.network.parameters(), work.rate, eps=1e-7, fused=True)
        forward = measuring(self.network, work.loss)
        self.forward: Callable[[Any, Any], tuple[Any, Any]] = torch.compile(forward) if compiled else forward

    def tensors(self, arrays: Any, targets: np.ndarray) -> tuple[Any, Any]:
        """Return x and y as tensors."""
        x: Any = [torch.tensor(part) for part in arrays] if isinstance(arrays, list) else torch.tensor(arrays)
        return x, torch.tensor(targets) if self.work.loss == "mse" else torch.tensor(targets).long()

    def train(self, order: np.ndarray) -> dict[str, float]:
        """Train for an epoch in a given order; return the mean loss and the metric."""
        loss_sum, metric_sum = torch.zeros(()), torch.zeros(())
        for rows in torch.from_numpy(order).split(self.work.batch):
            self.optimizer.zero_grad(set_to_none=True)
            loss, metric = self.forward(taken(self.x, rows), self.y[rows])
            loss.backward()
            self.optimizer.step()
            loss_sum += loss.detach() * len(rows)
            metric_sum += metric.detach() * len(rows)
        return {"loss": float(loss_sum) / len(self.y), "metric": float(metric_sum) / len(self.y)}

    @torch.no_grad()
    def evaluate(self, x: Any, y: Any) -> dict[str, float]:
        """Return the mean loss and the metric of x and y, tensors, in batches."""
        loss_sum, metric_sum = torch.zeros(()), torch.zeros(())
        self.network.eval()
        for rows in torch.arange(len(y)).split(self.work.batch):
            loss, metric = self.forward(taken(x, rows), y[rows])
            loss_sum += loss * len(rows)
            metric_sum += metric * len(rows)
        self.network.train()
        return {"loss": float(loss_sum) / len(y), "metric": float(metric_sum) / len(y)}


def taken(x: Any, rows: Any) -> Any:
    """Return rows of a tensor, or of each of several."""
    return [part[rows] for part in x] if isinstance(x, list) else x[rows]
