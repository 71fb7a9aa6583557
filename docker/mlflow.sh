#!/bin/sh
# Starts MLflow with the users' database of MLFLOW_USERS_STORE_URI, which MLflow reads from a file alone, and with the
# account `dcube` of the workers and of `docker/env`: it administers nobody.
set -eu
umask 077
export PYTHONPATH=/opt/dcube  # of mlflow_guard.py
export MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX='^(runs|models|mlflow-artifacts):/'
export MLFLOW_AUTH_CONFIG_PATH="$HOME/authentication.ini"
cat > "$MLFLOW_AUTH_CONFIG_PATH" <<END
[mlflow]
default_permission = READ
database_uri = ${MLFLOW_USERS_STORE_URI:?the address of the database of users}
admin_username = admin
authorization_function = mlflow_guard:authenticate
auth_cache_ttl_seconds = 60
END
python - <<END
import os
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

store, account = SqlAlchemyStore(), ("dcube", os.environ["MLFLOW_PASSWORD"])
store.init_db(os.environ["MLFLOW_USERS_STORE_URI"])
store.update_user(*account) if store.has_user("dcube") else store.create_user(*account)
END
unset MLFLOW_PASSWORD
# A line in the log for each request would hide all others.
exec mlflow server --app-name basic-auth --serve-artifacts --workers 1 --uvicorn-opts=--no-access-log \
    --host 0.0.0.0 --port 5000 "$@"
