"""Finding the chunks that a question is about: `index_builder` makes an index, `index_store` keeps it in the object
store, `index` searches it, `embeddings` turns texts into vectors. The reading side (`index`, `embeddings`) imports
neither Spark nor MLflow nor boto3."""
