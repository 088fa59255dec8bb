"""How a call is timed: clocks, the interleaved measurement, ratios with intervals."""
