"""From a run folder to tables, figures and a report. Reads what a run has left; never starts one.

`tables` scans the results and derives labels, `regions` counts them, `summary` says it in sentences,
`figures` draws, `report` puts it all into one HTML file.
"""
