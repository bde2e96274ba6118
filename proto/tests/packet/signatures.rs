//! Signatures that are well made but not acceptable; each refused by its own code.
