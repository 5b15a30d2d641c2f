"""The works in Lightning: its Trainer over a DataLoader, in the way its users write them."""

from typing import Any

import lightning
import numpy as np
from peer_torch import Peer
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["fit"]


class Module(lightning.LightningModule):
    """A peer's network, optimizer and loss, with what is logged at the end of each epoch."""

    def __init__(self, peer: Peer):
        super().__init__()
        self.network, self.forward_batch, self.optimizer = peer.network, peer.forward, peer.optimizer

    def measured(self, batch: Any, prefix: str) -> Any:
        """Return the loss of a batch, and log it and the metric."""
        *x, y = batch
        loss, metric = self.forward_batch(x if len(x) > 1 else x[0], y)
        self.log_dict({f"{prefix}loss": loss, f"{prefix}metric": metric}, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch: Any, place: int) -> Any:
        return self.measured(batch, "")

    def validation_step(self, batch: Any, place: int) -> None:
        self.measured(batch, "val_")

    def configure_optimizers(self) -> Any:
        return self.optimizer


def loader(peer: Peer, x: Any, y: Any, shuffle: bool) -> Any:
    """Return a DataLoader of tensors."""
    parts = x if isinstance(x, list) else [x]
    return DataLoader(TensorDataset(*parts, y), batch_size=peer.work.batch, shuffle=shuffle)


def fit(peer: Peer, epochs: int, validation: tuple[Any, np.ndarray]) -> None:
    """Train for a number of epochs with validation after each."""
    silent: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False, **silent)
    held = loader(peer, *peer.tensors(*validation), shuffle=False)
    trainer.fit(Module(peer), loader(peer, peer.x, peer.y, shuffle=True), held)
