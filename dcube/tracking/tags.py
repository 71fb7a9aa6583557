"""Names of the tags that runs and model versions carry in MLflow, for programs.

Those of a version that are for people, `dcube.registry.version_page` names.
"""

PREFIX = "dcube."  # what all tags of this project begin with

# Of every run.
RUN_KEY = "dcube.run_key"  # identifies a training: killed and started again, it goes on in the same run
PIPELINE = "dcube.pipeline"  # that all stages of one pipeline share
STAGE = "dcube.stage"
PIPELINE_RUN = "pipeline"  # what stands there of the run that holds those of a pipeline together
PARAMS_SHA256 = "dcube.params_sha256"
UNCOMMITTED = "dcube.uncommitted"  # files that no commit has as they were
DVC = "dcube.dvc."  # + path: DVC's hash of an output that was read
DATA = f"{DVC}data"
MACHINE = "dcube.machine"
VERSION = "dcube.version."  # + package
PYTHON = f"{VERSION}python"

# Of a stage's run, or of a model version.
MODEL = "dcube.model"  # name of the candidate in dvc.yaml
KIND = "dcube.kind"
REGISTERED_MODEL = "dcube.registered_model"  # that the run is the source of a version of
WEIGHTS = "dcube.weights_sha256"
TEST = "dcube.test_fingerprint"
DATASET = "dcube.dataset_fingerprint"
EVALUATION = "dcube.evaluation_sha256"
CODE = "dcube.code_sha256"
ABSTAIN = "dcube.abstain_below"  # the confidence below which the version was evaluated as giving no prediction
DECISION = "dcube.decision"  # the rule that decides, as it was evaluated
SPLIT_NOTICE = "dcube.split_notice"  # what must be said beside its metrics
DIFFUSION_WEIGHTS = "dcube.diffusion_weights_sha256"
DIFFUSION_RUN = "dcube.diffusion_run_id"
TRAINING_RUN = "dcube.training_run_id"
EVALUATION_RUN = "dcube.evaluation_run_id"
REGISTRATION_RUN = "dcube.registration_run_id"  # holds what all candidates of a pipeline share
UNDEFINED = "dcube.undefined"  # metrics without a value
EXTERNAL = "external test: "  # of a version, + name of the test set
EXTERNAL_TEST = "dcube.external_test"  # of a run: name of the test set
TEST_METRIC, VALIDATION_METRIC = "test.", "validation."  # + name of the metric
BEST_STEP = "dcube.best_step"
BEST_BLOCKS, WORST_BLOCKS = "dcube.blocks_best", "dcube.blocks_worst"
FID = "dcube.fid_"  # + what defines a distance
STUDY_ROW = "dcube.study.row"
STUDY_KEY = "dcube.study.key"  # equal for the same line, repeat or table of a study that is computed again

# MLflow's own.
PARENT = "mlflow.parentRunId"
COMMIT = "mlflow.source.git.commit"
SOURCE_NAME, SOURCE_TYPE = "mlflow.source.name", "mlflow.source.type"
NOTE = "mlflow.note.content"
EXPERIMENT_KIND = "mlflow.experimentKind"
RUN_NAME = "mlflow.runName"
MODEL_VERSIONS = "mlflow.modelVersions"  # of a logged model: what it is registered as
DATASET_CONTEXT = "mlflow.data.context"
MLFLOW = "mlflow."  # MLflow's pages hide tags that begin so

# Of a version, for programs alone.
MANIFEST = f"{MLFLOW}dcube.manifest_sha256"  # of its manifest.json, which names everything else
CHAMPION = f"{MLFLOW}dcube.champion."  # + the moment: a version that is champion twice has two of these tags
