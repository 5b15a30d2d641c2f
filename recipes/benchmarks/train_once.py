"""One training in a process of its own, for time_to_model: a job as JSON in, its seconds and peak memory as JSON out.

A job has the training's and the contender's kind and setting, and the epochs. What is timed is fit's call to its
return; models, data and imports are made before.
"""

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from timing import peak_megabytes

__all__ = ["Job"]


@dataclasses.dataclass(frozen=True)
class Job:
    """What is trained by whom: `kind` is "fit", "Loop", "PyTorch", "Lightning" or "input", which only draws the data.

    `setting` is fit's steps an execution, or "epoch" for an epoch's; or Loop's `jit`.
    """

    training: str
    kind: str
    setting: Any
    epochs: int


class Search(NamedTuple):
    """A search over the learning rate of a training's model, by KerasTuner's tuner or by kopt's."""

    training: Any
    job: Job
    compiled: dict[str, Any]

    def build(self, hp: Any) -> Any:
        """Build the model of a trial."""
        model = self.training.work.model(**self.compiled)
        model.optimizer.learning_rate = hp.Float("rate", 1e-4, 1e-1, sampling="log")
        return model

    def tuner(self, folder: str) -> Any:
        """Return the tuner as it comes."""
        import keras_tuner

        from kopt.training import Loop
        from kopt.tuning import Tuner

        class Looped(keras_tuner.HyperModel):
            """Trains its trials by Loop."""

            def build(this, hp: Any) -> Any:
                return self.build(hp)

            def fit(this, hp: Any, model: Any, *args: Any, **named: Any) -> Any:
                return Loop(model, jit=self.job.setting).fit(*args, **named)

        where: dict[str, Any] = {"max_trials": 10, "seed": 0, "directory": folder}
        if self.job.kind == "fit":
            return keras_tuner.RandomSearch(self.build, "val_loss", **where)
        return Tuner(Looped() if self.training.search == "loop" else self.build, "val_loss", sampler="random", **where)


def searching(training: Any, job: Job, compiled: dict[str, Any]) -> Callable[[], Any]:
    """Return a function that searches."""
    arguments, folder = training.arguments(training.work), tempfile.TemporaryDirectory()
    tuner = Search(training, job, compiled).tuner(folder.name)

    def search() -> None:
        with folder:
            tuner.search(epochs=job.epochs, verbose=0, **arguments)

    return search


def keras_trainer(training: Any, job: Job) -> Callable[[], Any]:
    """Return a function that trains by stock fit or by Loop, a training or the trials of a search."""
    steps = training.work.steps() if job.setting == "epoch" else job.setting
    compiled = {"steps_per_execution": steps} if job.kind == "fit" else {}
    if training.search:
        return searching(training, job, compiled)
    model, arguments = training.work.model(**compiled), training.arguments(training.work)
    if job.kind == "Loop":
        from kopt.training import Loop

    def train() -> None:
        fit = Loop(model, jit=job.setting).fit if job.kind == "Loop" else model.fit
        for epochs in training.fits(job.epochs):
            fit(epochs=epochs, verbose=0, **arguments)

        asked, done = sum(training.fits(job.epochs)) * training.work.steps(), int(model.optimizer.iterations)
        if done < asked:
            raise RuntimeError(f"it trained {done} of {asked} steps")

    return train


def peer_trainer(training: Any, job: Job) -> Callable[[], Any]:
    """Return a function that trains by PyTorch, from Keras' first weights."""
    from peer_torch import Peer

    work = training.work
    peer = Peer(job.training, work, work.model().get_weights())
    if job.kind == "Lightning":
        import peer_lightning

        return lambda: peer_lightning.fit(peer, job.epochs, work.validation())
    import numpy as np

    held = peer.tensors(*work.validation())
    random = np.random.default_rng(0)

    def train() -> None:
        for _ in range(job.epochs):
            peer.train(random.permutation(len(peer.y)))
            peer.evaluate(*held)

    return train


def drawing(training: Any, job: Job) -> Callable[[], Any]:
    """Return a function that draws the data of all epochs and trains nothing."""
    from trainings import iterate

    arguments = training.arguments(training.work)

    def draw() -> None:
        for _ in range(job.epochs):
            iterate(arguments)

    return draw


def main(job: Job) -> None:
    """Do one job and print what it took."""
    from trainings import TRAININGS

    makers = {"fit": keras_trainer, "Loop": keras_trainer, "input": drawing}
    train = makers.get(job.kind, peer_trainer)(TRAININGS[job.training], job)
    started = time.perf_counter()
    train()
    print(json.dumps({"seconds": time.perf_counter() - started, "peak": peak_megabytes()}))


if __name__ == "__main__":
    main(Job(**json.loads(sys.argv[1])))
