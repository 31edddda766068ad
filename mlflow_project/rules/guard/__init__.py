"""Statistics of the guard: whether a new release harms its callers, by tests that stay valid however often one looks.

`policy` says which indicators the guard watches and how sure it must be. `betting` has the tests: each is a bet against
"the new release is no worse", whose capital grows only if that is false. `limits` turns latencies and costs into counts
above a limit that the old release sets, `predictions` turns predictions into counts by bin. `evidence` adds up bets and
counts, `judge` answers harm, clear or inconclusive. `split` tests whether requests were divided as they should be.
Nothing here reads, writes or asks for the time.
"""
