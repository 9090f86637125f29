"""report.html: tables, figures and the worst cases of an evaluation in one file."""
