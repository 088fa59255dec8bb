"""From the JSON of benchmarks and of fine-tuning to tables, figures and one page that needs no network.

    python -m reports FILE.json... -o DIR

One way in and one way out: `load` reads files into a `ReportData`; `tables` and `figures` turn it into `Table` and
`Plot` objects; `sections` says in which order a reader meets them; `render` and `report` give them their written forms;
`write` puts all of it on the disk or none. `commands` has what else can be asked for: two revisions or two runs side by
side (`comparisons`), and how well the regression gate works (`operating`). Nothing here imports torch or the rest of
the suite.
"""
