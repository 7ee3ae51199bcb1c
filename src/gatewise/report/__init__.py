"""One run as one HTML page that needs no network: how good the model is and what is inside it.

`measure_report` measures, `render_report` shows; jinja2 and matplotlib are imported when the first
page is made (``pip install 'gatewise[report]'``).
"""

from gatewise.report.advice import Advice
from gatewise.report.measure import Report, measure_report
from gatewise.report.outcomes import Confusion, Forecasts, Residuals, measure_outcome
from gatewise.report.render import render_report, write_report
from gatewise.report.unrolled import Unrolled, unroll

__all__ = [
    "Advice",
    "Confusion",
    "Forecasts",
    "Report",
    "Residuals",
    "Unrolled",
    "measure_outcome",
    "measure_report",
    "render_report",
    "unroll",
    "write_report",
]
