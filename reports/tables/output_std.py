"""Why one router has another standard deviation of the output in each table."""

OUTPUT_STD = (
    " One router has several output STDs, and all are right: they are of a layer, whose experts make most of it. "
    "Random experts stand behind the inputs “random” and “supplemental”; on all others copies of the encoder's "
    "network, which hide the router, and in tables that say so its neurons shared out among the experts, which show it."
)
