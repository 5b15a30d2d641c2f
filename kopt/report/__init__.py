"""Reports: run folders and pictures."""

from kopt.report.compare import compare_figure, differences
from kopt.report.console import told
from kopt.report.evidence import Evidence
from kopt.report.found import found_runs, read_runs
from kopt.report.plots import history_figure, plot, schedule_figure
from kopt.report.read import read_run
from kopt.report.run import Run
from kopt.report.run_folder import run_folder
from kopt.report.written import NotWritten, write_metrics, write_report, write_result

__all__ = [
    "Evidence",
    "NotWritten",
    "Run",
    "compare_figure",
    "differences",
    "found_runs",
    "history_figure",
    "plot",
    "read_run",
    "read_runs",
    "run_folder",
    "schedule_figure",
    "told",
    "write_metrics",
    "write_report",
    "write_result",
]
