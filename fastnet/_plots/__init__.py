"""Pictures of results, by the package matplotlib, which is imported when there is a picture to draw."""
