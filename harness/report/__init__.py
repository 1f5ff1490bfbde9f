"""A study as one page to send around: gathered from the store, then written as HTML, Markdown or JSON."""

from harness.report.gather import gather
from harness.report.html import html
from harness.report.markdown import markdown
from harness.report.model import Report

__all__ = ["Report", "gather", "html", "markdown"]
