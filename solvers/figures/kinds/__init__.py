"""The kinds of figure, one a file: ``draw(rows, asked, look)`` gives one Vega-Lite description."""
