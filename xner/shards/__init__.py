"""Our own files: schemas, storage, and the ledger of what is done."""
