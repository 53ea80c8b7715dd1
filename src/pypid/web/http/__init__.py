"""HTTP for the routes: connections, requests, responses, headers, forms and cookies."""
