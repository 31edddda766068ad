"""Point-in-time features: reading events strictly, and the history of an entity's features. Pure."""
