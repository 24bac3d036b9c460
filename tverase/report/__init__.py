"""What a run hands to people: one page, plots, tables and pictures, all made from `Facts`."""
