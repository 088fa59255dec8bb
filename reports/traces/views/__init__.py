"""Tables and figures of a trace: a module is a topic, in the order of `reports.traces.page.PLAN`."""
