"""The web demo: everything it knows stands in modules without gradio, `app` alone draws the page."""
