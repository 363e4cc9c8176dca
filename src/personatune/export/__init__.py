"""What other programs read: GGUF files, Ollama's Modelfiles, and the hub."""
