"""One static page about a run or a registered model: metrics, data, images, curves, parameters, lineage."""
