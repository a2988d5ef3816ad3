"""`--mode eval` in parts: what is asked, what is drawn, rows, report."""
