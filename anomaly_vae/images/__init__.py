"""From files to arrays, and back to places in the photograph: the one pre-processing.

``files`` finds photographs, ``sources`` takes them from a folder or a list, ``ahead`` reads them in
advance; ``decoding`` makes the square that the model sees of a file or a picture, ``arrays`` a
picture of an array; ``roi`` what of it is inspected, ``quality`` how bright and sharp it is;
``regions`` where a defect lies. ``samples`` draws photographs, of a ``plate`` with ``flaws``.
"""
