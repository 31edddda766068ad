"""Did something change? Pure statistics: observations in, distances and an alarm out.

`splits` divides a reference into pretended windows, `statistics` measures how far a window is from the rest, and
`calibration` says how far is further than the reference is from itself. `profiles` does the same for corpus versions.
"""
