"""Fine-tuning at a provider: an exported set of examples in, a prompt version with the tuned model out."""
