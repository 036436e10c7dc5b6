"""From files to arrays, and back to places in the photograph: the one pre-processing.

``formats`` says which files are images, ``rules`` what holds no photographs; ``files`` finds those
that do, ``lists`` reads what names them, ``sources`` takes them from either, ``ahead`` reads them
in advance, ``reading`` each once, known by its digest, ``many`` keeps more of them than fit into
memory.
``opening`` decodes a file, within a budget of ``memory``;
``levels`` says what its numbers mean; ``proportions`` finds the shape of the frame that the model
sees, ``detail`` how fine it must be, and ``decoding`` makes that of a file or a picture, ``arrays``
a picture of an array. ``slices`` says which files are one stack, ``stacks`` makes their frame.
``masks`` are the truth about defects. ``roi`` is what of a frame is inspected, ``quality`` how
bright and sharp it is, ``position`` where its edges lie; ``regions`` where a defect lies.
``survey`` looks at each of many, ``likeness`` compares them. ``part`` says where the part
lies; ``drawn`` draws defects onto it, with ``patches``. ``samples`` draws photographs, of a
``plate`` with ``flaws``, ``scans`` stacks of slices, ``textures`` pictures of all kinds of
surfaces.
"""
