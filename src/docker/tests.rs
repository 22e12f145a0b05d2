//! Unit tests: see each part.
