"""Results, rejections and status reports to their destinations, and their commitment."""
