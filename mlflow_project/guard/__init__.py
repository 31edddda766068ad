"""The guard: watches rollouts and new releases by what workers count, takes steps, and rolls back by itself.

`subjects` says what is to be watched, from the ledger. `traffic` reads the hosts' counts. `watching` adds up what a
subject's counts say, `words` shows it to people. `deciding` chooses what to do, `acting` does it. `process` is the
loop, run by one leader.
"""
