"""Reports: run folders, model cards and pictures."""

from kopt.report.compare import compare_figure, differences
from kopt.report.console import console_log
from kopt.report.evidence import Evidence
from kopt.report.plots import history_figure, plot, schedule_figure
from kopt.report.run import Run
from kopt.report.run_finder import found_runs, read_runs
from kopt.report.run_folder import run_folder
from kopt.report.run_reader import read_run
from kopt.report.run_writer import NotWritten, write_metrics, write_report, write_result
from kopt.values.moved_names import moved_names

__all__ = [
    "Evidence",
    "NotWritten",
    "Run",
    "compare_figure",
    "console_log",
    "differences",
    "found_runs",
    "history_figure",
    "plot",
    "read_run",
    "read_runs",
    "run_folder",
    "schedule_figure",
    "write_metrics",
    "write_report",
    "write_result",
]

__getattr__ = moved_names(__name__, {"told": "console_log"})
