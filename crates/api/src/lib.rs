//! HTTP: the REST API and its OpenAPI, the agents channel, boot media.
