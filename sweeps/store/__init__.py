"""What a run leaves behind: the ledger, where it stands, and who holds it."""
