"""Generated raw data for the two models that ship: `fraud` and `intent`. Recipes: docs/guide/features.md."""
