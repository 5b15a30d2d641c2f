"""Reports: run folders and pictures."""

from kopt.report.compare import compare_figure, differences, found_runs
from kopt.report.console import told
from kopt.report.plots import history_figure, plot, schedule_figure
from kopt.report.evidence import Evidence
from kopt.report.run import Run
from kopt.report.run_folder import read_run, run_folder, write_run

__all__ = [
    "Evidence",
    "Run",
    "history_figure",
    "plot",
    "read_run",
    "run_folder",
    "schedule_figure",
    "told",
    "write_run",
]
