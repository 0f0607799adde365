"""Bundles as files of llama.cpp: `converting`."""
