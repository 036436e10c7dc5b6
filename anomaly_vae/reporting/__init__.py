"""Tables, pictures and pages: what people and other programs read.

``rows`` the columns, ``tables``, ``parquet`` and ``workbook`` the files, ``results`` a folder of
them with its ``journal``, ``writing`` what is on its way there; ``heatmaps``, ``gallery``,
``summary`` and ``page`` for people; ``card`` of a model; ``figures`` and the others draw
(matplotlib).
"""
