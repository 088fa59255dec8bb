"""Two revisions or two stored runs side by side.

`gate` and `stored` read files into the same `Comparison`; `terminal` and `comment` show it in the same `words`. Nothing
here needs pandas or matplotlib, so that it starts at once.
"""
