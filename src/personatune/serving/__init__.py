"""An OpenAI-compatible server for chat front-ends: one model, one persona behind each model id."""
