"""Human review of live answers, and evaluation cases made from it.

In: the tables of live answers and feedback, which the job `collect_feedback` writes. Out: samples for people to judge,
their judgements as events, evaluation cases. Nothing here writes a table: judgements become events like all feedback.
"""
