"""Rollouts: move the traffic of a name to a new release in steps, hold, go on, go back or finish.

The ledger's records are the truth. Hosts follow them, so a rollout goes on as it is when nobody can be reached.
"""
