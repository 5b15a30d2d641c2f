"""Reports: run folders and pictures."""

from kopt.report.console import told
from kopt.report.plots import history_figure, plot, schedule_figure
from kopt.report.run_folder import Run, read_run, run_folder, write_run

__all__ = ["Run", "history_figure", "plot", "read_run", "run_folder", "schedule_figure", "told", "write_run"]
