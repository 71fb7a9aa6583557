"""Names of tags on runs and model versions in MLflow that programs read.

`dcube.registry.version_page` has the tags of a version that are for people.
"""

PREFIX = "dcube."  # prefix of all tags of this project

# Tags of every run.
RUN_KEY = "dcube.run_key"  # key of a training, with which it continues the same run after a restart
PIPELINE = "dcube.pipeline"  # name that all stages of one pipeline share
STAGE = "dcube.stage"
PIPELINE_RUN = "pipeline"  # value of STAGE for the parent run of a pipeline
PARAMS_SHA256 = "dcube.params_sha256"
UNCOMMITTED = "dcube.uncommitted"  # files with uncommitted changes
DVC = "dcube.dvc."  # + path: DVC's hash of an output that was read
DATA = f"{DVC}data"
MACHINE = "dcube.machine"
VERSION = "dcube.version."  # + package
PYTHON = f"{VERSION}python"

# Tags of a stage's run or of a model version.
MODEL = "dcube.model"  # name of the candidate in dvc.yaml
KIND = "dcube.kind"
REGISTERED_MODEL = "dcube.registered_model"  # registered model of the version whose source the run is
WEIGHTS = "dcube.weights_sha256"
TEST = "dcube.test_fingerprint"
DATASET = "dcube.dataset_fingerprint"
EVALUATION = "dcube.evaluation_sha256"
CODE = "dcube.code_sha256"
ABSTAIN = "dcube.abstain_below"  # confidence below which the version abstained in its evaluation
DECISION = "dcube.decision"  # decision rule of the version's evaluation
SPLIT_NOTICE = "dcube.split_notice"  # warning that must be shown beside the version's metrics
DIFFUSION_WEIGHTS = "dcube.diffusion_weights_sha256"
DIFFUSION_RUN = "dcube.diffusion_run_id"
TRAINING_RUN = "dcube.training_run_id"
EVALUATION_RUN = "dcube.evaluation_run_id"
ENSEMBLE = "dcube.ensemble"  # of the folds' models: study and row that made it
MEMBER, MEMBER_RUN = "dcube.member.", "dcube.member_run."  # + number: origin and training run of a member
REGISTRATION_RUN = "dcube.registration_run_id"  # run with the files that all candidates of a pipeline share
UNDEFINED = "dcube.undefined"  # metrics without a value
EXTERNAL = "external test: "  # + name of the test set, on a version
EXTERNAL_TEST = "dcube.external_test"  # name of the test set, on a run
TEST_METRIC, VALIDATION_METRIC = "test.", "validation."  # + name of the metric
BEST_STEP = "dcube.best_step"
BEST_BLOCKS, WORST_BLOCKS = "dcube.blocks_best", "dcube.blocks_worst"
FID = "dcube.fid_"  # + property that defines a distance, for example the extractor
STUDY_ROW = "dcube.study.row"
STUDY_KEY = "dcube.study.key"  # equal for the same line, repeat or table when a study is computed again

# MLflow's own tags.
PARENT = "mlflow.parentRunId"
COMMIT = "mlflow.source.git.commit"
SOURCE_NAME, SOURCE_TYPE = "mlflow.source.name", "mlflow.source.type"
NOTE = "mlflow.note.content"
EXPERIMENT_KIND = "mlflow.experimentKind"
RUN_NAME = "mlflow.runName"
MODEL_VERSIONS = "mlflow.modelVersions"  # versions that a logged model is registered as
DATASET_CONTEXT = "mlflow.data.context"
MLFLOW = "mlflow."  # MLflow's pages hide tags with this prefix

# Tags of a version, for programs only.
MANIFEST = f"{MLFLOW}dcube.manifest_sha256"  # sha256 of its manifest.json, which contains all other hashes
CHAMPION = f"{MLFLOW}dcube.champion."  # + time, because a version may become champion twice
