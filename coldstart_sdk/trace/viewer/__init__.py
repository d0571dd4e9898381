"""The page that shows a start: its style and its script, as files that the page is put together from."""
