#!/bin/sh
# Run once by the PostgreSQL image: a role with a password for each server, and databases that no other role enters.
set -eu
for role in mlflow prefect; do
    case $role in
        mlflow) password=$MLFLOW_DATABASE_PASSWORD databases="mlflow mlflow_auth" ;;
        prefect) password=$PREFECT_DATABASE_PASSWORD databases=prefect ;;
    esac
    # psql quotes the value itself; the statement comes from standard input, where variables are replaced.
    psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres --set password="$password" <<END
CREATE ROLE $role LOGIN PASSWORD :'password';
END
    for database in $databases; do
        psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<END
CREATE DATABASE $database OWNER $role ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0;
REVOKE CONNECT ON DATABASE $database FROM PUBLIC;
END
    done
done
