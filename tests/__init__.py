"""Tests: one file per module, and the whole way with real media, real sockets and a real browser."""
