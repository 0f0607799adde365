"""Models as ONNX graphs: the bytes of a file, what the standard wants of one, and what it computes.

    proto      a file's bytes as values, and back
    contract   what model.onnx must be, so that it may be run in place of a bundle's weights
    making     a bundle's weights as a graph
    spoiled    the same graph, wrong in one way
    running    what a graph computes, in NumPy

Nothing here comes from the reference, from `onnx` or from a runtime: a judge that computes what an exported file says
must run wherever a report is read, and files that are broken on purpose cannot be made by a library that refuses to
break them. The tests hold all of it to `onnx` and onnxruntime.
"""
