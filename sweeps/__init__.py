"""What to run, where and when: sweep files, search, packs, Ray Tune, the ledger, the command."""
