"""One node: a store of content-addressed chunks, an object API, and pulls from other nodes."""
