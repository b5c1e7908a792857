"""One script for each figure or table of a report; see README.md."""
