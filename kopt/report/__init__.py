"""Reports: run folders, model cards and pictures."""

from kopt.values import parts

if not parts.late(__name__):
    from kopt.report.compare import compare_figure, differences
    from kopt.report.console import console_log
    from kopt.report.event_logs import EventLogs
    from kopt.report.evidence import Evidence
    from kopt.report.plots import history_figure, plot, schedule_figure
    from kopt.report.run import Run
    from kopt.report.run_finder import found_runs, read_runs
    from kopt.report.run_folder import reopened_folder, run_folder
    from kopt.report.run_reader import read_run
    from kopt.report.run_writer import NotWritten, write_metrics, write_report, write_result, write_start
    from kopt.report.unfinished import find_if_any, find_unfinished
    from kopt.values.moved_names import moved_names

    __getattr__ = moved_names(__name__, {"told": "console_log"})

__all__ = [
    "EventLogs",
    "Evidence",
    "NotWritten",
    "Run",
    "compare_figure",
    "console_log",
    "differences",
    "find_if_any",
    "find_unfinished",
    "found_runs",
    "history_figure",
    "plot",
    "read_run",
    "read_runs",
    "reopened_folder",
    "run_folder",
    "schedule_figure",
    "write_metrics",
    "write_report",
    "write_result",
    "write_start",
]
