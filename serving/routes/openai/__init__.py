"""OpenAI's protocol, so that its clients and the frameworks built on them work unchanged.

`chat` and `responses` read a request into a `ModelRequest` (`model_request`), ask the release through `routes.ask`, and
write the answer in OpenAI's form. `embeddings` serves the shipped vectors; `models` lists what can be asked.
"""
