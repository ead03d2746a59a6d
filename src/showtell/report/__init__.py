"""A run as one self-contained HTML page, and several runs on one."""

from showtell.report.comparison import write_seeds_report, write_tuning_report
from showtell.report.page import write_report
from showtell.report.summary import write_summary

__all__ = ["write_report", "write_seeds_report", "write_summary", "write_tuning_report"]
