"""What an operation costs as a store grows: catalogs of up to 50 million chunks, measured through the real store."""
