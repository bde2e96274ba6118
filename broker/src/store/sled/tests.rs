//! What only the sled backend has to show.
