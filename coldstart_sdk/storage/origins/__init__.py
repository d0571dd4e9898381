"""Where weights come from. Each module says what its kind of origin has; `transfer` moves the bytes."""
