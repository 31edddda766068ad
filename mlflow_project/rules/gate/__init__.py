"""The gate: (candidate scores, champion scores, policy) -> Verdict. Pure, deterministic, explained in words."""
