"""The main job, once round: raw text -> chunks -> prompt versions -> evaluation -> gate -> seal -> alias -> answers ->
rollback, by the public commands alone. `make demo` runs it on a running stack; twice in a row works."""
