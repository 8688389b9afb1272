"""Contact sheets and the HTML page."""
