"""The outside LLM, simulated over real TCP: Gemini's, OpenAI's and Anthropic's wire protocols, with faults on demand.

The only simulated part of the tests. The code under test never learns of it: what the server does next is said by the
test (`Simulated.will`) or over its own control address (`PUT /control`).
"""
