"""Statistics of drift: whether a window of traffic differs from its reference by more than chance explains.

`splits` divides a reference into simulated windows. `statistics` measures the distance of a window from the rest.
`calibration` finds the threshold from the distances within the reference. `profiles` compares versions of a corpus.
"""
