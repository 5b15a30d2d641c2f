"""Handwritten digits with a small convolutional network.

Command   python recipes/vision.py
Data      digits, 1,797 images of 8 x 8 pixels, inside scikit-learn
Baseline  a support vector machine on the pixels
Target    test accuracy 0.98
Time      about 20 s on 2 cores
"""

from collections.abc import Sequence

import kopt
from kopt.data import Digits
from kopt.models import ConvNet
from kopt.regularizers import L2
from kopt.rules import Adam
from kopt.schedules import Cosine

RECIPE = kopt.Recipe(
    "vision",
    Digits(),
    model=ConvNet((8, 8, 1), 10, width=16, scale=1 / 16),
    schedule=Cosine(3e-3).warmup(1),
    rule=Adam(),
    regularizer=L2(1e-4),
    training=kopt.Training(epochs=20, batch_size=32),
    target=0.98,
)
QUICK = {"training.epochs": 2, "data.examples": 300, "model.width": 4}


def main(args: Sequence[str] | None = None) -> kopt.report.Run:
    """Train, and leave a run folder."""
    command = kopt.command_line(kopt.Command(RECIPE), quick=QUICK, args=args, description=__doc__)
    return kopt.run(command.of, folder=command.folder)


if __name__ == "__main__":
    main()
