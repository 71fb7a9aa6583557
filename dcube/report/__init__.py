"""One static page about a run or a registered model: figures, data, images, curves, parameters, lineage."""
