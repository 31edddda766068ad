"""What live traffic and people said: read from the tables that `collect_feedback` keeps, judged by people, made cases.

In: the tables of answers and feedback. Out: samples to judge, judgements as events, evaluation cases. Never writes a
table: judgements go the way of all events.
"""
