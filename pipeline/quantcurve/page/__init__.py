"""The trade-off page: one HTML file that needs nothing else, made from one or more runs."""
