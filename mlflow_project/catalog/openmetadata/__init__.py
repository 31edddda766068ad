"""Keeps an OpenMetadata server up to date: `facts` reads what is true, `entities` says what OpenMetadata should have,
`client` speaks its REST API, `push` writes what differs or only names it."""
