#!/bin/sh
# Makes the platform's credentials: docker/.env for compose.yaml, and docker/env to `source` on this machine.
# Doing it again keeps those that are there. Both files are for their owner's eyes only.
set -eu
umask 077
cd "$(dirname "$0")"
touch .env env
for name in POSTGRES_PASSWORD MLFLOW_DATABASE_PASSWORD PREFECT_DATABASE_PASSWORD S3_ACCESS_KEY S3_SECRET_KEY \
    MLFLOW_ADMIN_PASSWORD MLFLOW_PASSWORD MLFLOW_SESSION_KEY PREFECT_PASSWORD; do
    # Letters and digits alone: some become part of a database's address.
    grep -q "^$name=" .env || echo "$name=$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')" >> .env
done
. ./.env
cat > env <<END
export PREFECT_API_URL=http://127.0.0.1:${DCUBE_PREFECT_PORT:-4200}/api
export PREFECT_API_AUTH_STRING=admin:$PREFECT_PASSWORD
export MLFLOW_TRACKING_URI=http://127.0.0.1:${DCUBE_MLFLOW_PORT:-5000}
export MLFLOW_TRACKING_USERNAME=dcube
export MLFLOW_TRACKING_PASSWORD=$MLFLOW_PASSWORD
export DCUBE_STORAGE=s3://dcube
export AWS_ENDPOINT_URL=http://127.0.0.1:${DCUBE_S3_PORT:-9000}
export AWS_ACCESS_KEY_ID=$S3_ACCESS_KEY
export AWS_SECRET_ACCESS_KEY=$S3_SECRET_KEY
export AWS_DEFAULT_REGION=us-east-1
END
echo "docker/.env and docker/env are in place. MLflow's administrator is admin, with MLFLOW_ADMIN_PASSWORD of docker/.env"
