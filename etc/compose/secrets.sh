#!/bin/sh
# Create the secrets of compose.yaml in the folder secrets/ beside it. Existing ones stay as they are.
set -eu
cd "$(dirname "$0")"
mkdir -p -m 0700 secrets # the files can be read by the users of the containers; the folder keeps other users out
for name in server_secret storage_password database_password; do
    [ -s "secrets/$name" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "secrets/$name"
done
printf 'postgresql://pypid:%s@database/pypid' "$(cat secrets/database_password)" > secrets/database_url
chmod 0644 secrets/*
