"""What pages and feeds show of projects, computed without any input or output."""
