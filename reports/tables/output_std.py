"""Why one router has another standard deviation of the output in each table."""

OUTPUT_STD = (
    "The output STD is that of a layer, and a router has one for each kind of experts: random ones on “random” and "
    "“supplemental” input; on all others copies of the encoder's feed-forward network, which answer alike whatever the "
    "router selects, and, in tables that say “partitioned”, that network's neurons shared out among the experts, where "
    "it matters who is selected. Compare it within one kind alone."
)
