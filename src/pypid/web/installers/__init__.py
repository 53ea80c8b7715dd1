"""Routes for installers and upload clients: Simple API, files, uploads and legacy APIs."""
