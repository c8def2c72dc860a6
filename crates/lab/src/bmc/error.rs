//! Errors as Redfish writes them: a status, and a body with `@Message.ExtendedInfo`.
//!
//! All messages are from DMTF's Base registry, so that clients can look them up.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

/// The version of the Base registry that messages name.
const BASE: &str = "Base.1.18";

/// A request that was not carried out, and why.
#[derive(Debug)]
pub(super) struct RedfishError {
    pub status: StatusCode,
    message_id: &'static str,
    message: String,
    args: Vec<String>,
    resolution: &'static str,
    allow: Option<String>,
}

impl RedfishError {
    fn new(
        status: StatusCode,
        message_id: &'static str,
        message: String,
        args: &[&str],
        resolution: &'static str,
    ) -> Self {
        Self {
            status,
            message_id,
            message,
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            resolution,
            allow: None,
        }
    }

    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "NoValidSession",
            "There is no valid session established with the implementation.".into(),
            &[],
            "Establish a session before attempting any operations.",
        )
    }

    pub fn wrong_credentials() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "ResourceAtUriUnauthorized",
            "While accessing the resource at '/redfish/v1/SessionService/Sessions', the service \
             received an authorization error 'wrong user or password'."
                .into(),
            &[
                "/redfish/v1/SessionService/Sessions",
                "wrong user or password",
            ],
            "Ensure that the appropriate access is provided for the service.",
        )
    }

    pub fn insufficient_privilege() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "InsufficientPrivilege",
            "There are insufficient privileges for the account or credentials associated with the \
             current session to perform the requested operation."
                .into(),
            &[],
            "Either abandon the operation or change the associated access rights and resubmit the \
             request if the operation failed.",
        )
    }

    pub fn session_limit() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "SessionLimitExceeded",
            "The session establishment failed due to the number of simultaneous sessions \
             exceeding the limit of the implementation."
                .into(),
            &[],
            "Reduce the number of other sessions before trying to establish the session.",
        )
    }

    pub fn not_found(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "ResourceMissingAtURI",
            format!("The resource at the URI '{path}' was not found."),
            &[path],
            "Place a valid resource at the URI or correct the URI and resubmit the request.",
        )
    }

    pub fn method_not_allowed(method: &str, allow: &[&str]) -> Self {
        let mut error = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "OperationNotAllowed",
            format!("The HTTP method {method} is not allowed on this resource."),
            &[],
            "None.",
        );
        error.allow = Some(allow.join(", "));
        error
    }

    pub fn malformed_json() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "MalformedJSON",
            "The request body submitted was malformed JSON and could not be parsed by the \
             receiving service."
                .into(),
            &[],
            "Ensure that the request body is valid JSON and resubmit the request.",
        )
    }

    pub fn odata_version(version: &str) -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "HeaderInvalid",
            format!("Header 'OData-Version: {version}' is invalid."),
            &[&format!("OData-Version: {version}")],
            "Resubmit the request with a valid request header.",
        )
    }

    pub fn precondition_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailed",
            "The ETag supplied did not match the ETag required to change this resource.".into(),
            &[],
            "Try the operation again using the appropriate ETag.",
        )
    }

    pub fn property_missing(name: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "PropertyMissing",
            format!(
                "The property {name} is a required property and must be included in the request."
            ),
            &[name],
            "Ensure that the property is in the request body and has a valid value.",
        )
    }

    pub fn property_unknown(name: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "PropertyUnknown",
            format!("The property {name} is not in the list of valid properties for the resource."),
            &[name],
            "Remove the unknown property from the request body and resubmit the request.",
        )
    }

    pub fn property_not_writable(name: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "PropertyNotWritable",
            format!("The property {name} is a read-only property and cannot be assigned a value."),
            &[name],
            "Remove the property from the request body and resubmit the request.",
        )
    }

    pub fn property_value_not_in_list(value: &Value, name: &str) -> Self {
        let value = plain(value);
        Self::new(
            StatusCode::BAD_REQUEST,
            "PropertyValueNotInList",
            format!(
                "The value '{value}' for the property {name} is not in the list of acceptable \
                 values."
            ),
            &[&value, name],
            "Choose a value from the enumeration list that the implementation can support.",
        )
    }

    pub fn property_value_type(value: &Value, name: &str) -> Self {
        let value = plain(value);
        Self::new(
            StatusCode::BAD_REQUEST,
            "PropertyValueTypeError",
            format!(
                "The value '{value}' for the property {name} is not a type that the property can \
                 accept."
            ),
            &[&value, name],
            "Correct the value for the property in the request body.",
        )
    }

    pub fn property_value_format(value: &str, name: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "PropertyValueFormatError",
            format!(
                "The value '{value}' for the property {name} is not in a format that the property \
                 can accept."
            ),
            &[value, name],
            "Correct the value for the property in the request body.",
        )
    }

    pub fn action_parameter_missing(action: &str, name: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "ActionParameterMissing",
            format!("The action {action} requires the parameter {name} to be present."),
            &[action, name],
            "Supply the action with the required parameter in the request body.",
        )
    }

    pub fn action_parameter_not_in_list(value: &Value, name: &str, action: &str) -> Self {
        let value = plain(value);
        Self::new(
            StatusCode::BAD_REQUEST,
            "ActionParameterValueNotInList",
            format!(
                "The value '{value}' for the parameter {name} in the action {action} is not in \
                 the list of acceptable values."
            ),
            &[&value, name, action],
            "Choose a value from the enumeration list that the implementation can support.",
        )
    }

    /// The request is fine, and cannot be carried out in the state that the machine is in.
    pub fn conflict(message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(
            StatusCode::CONFLICT,
            "OperationFailed",
            message,
            &[],
            "Bring the resource into a state that allows the operation, and resubmit it.",
        )
    }

    /// It could be done, but not while the machine is on.
    pub fn needs_off() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "OperationFailed",
            "The operation cannot be carried out while the system is on; power it off first."
                .into(),
            &[],
            "Power the system off and resubmit the request.",
        )
    }

    pub fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceTemporarilyUnavailable",
            "The service is temporarily unavailable.".into(),
            &[],
            "Wait and resubmit the request.",
        )
    }

    pub fn password_change_required(account: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "PasswordChangeRequired",
            format!(
                "The password provided for this account must be changed before access is granted. \
                 PATCH the Password property for this account located at the target URI \
                 '{account}' to complete this process."
            ),
            &[account],
            "Change the password for this account.",
        )
    }

    pub fn cannot_fetch(url: &str, why: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "CouldNotEstablishConnection",
            format!(
                "The service failed to establish a connection with the URI '{url}', or to read \
                 from it: {why}."
            ),
            &[url],
            "Ensure that the URI contains a valid and reachable address of a medium.",
        )
    }

    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            format!("The request failed due to an internal service error: {message}."),
            &[],
            "Resubmit the request.",
        )
    }

    /// With a status that somebody chose, for faults.
    pub fn chosen(code: u16) -> Self {
        let mut error = Self::internal("a fault was asked for");
        error.status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        error
    }

    /// One message as it stands in bodies and in tasks.
    pub fn message(&self) -> Value {
        let severity = if self.status.is_server_error() {
            "Critical"
        } else {
            "Warning"
        };
        json!({
            "@odata.type": "#Message.v1_2_0.Message",
            "MessageId": format!("{BASE}.{}", self.message_id),
            "Message": self.message,
            "MessageArgs": self.args,
            "MessageSeverity": severity,
            "Severity": severity,
            "Resolution": self.resolution,
        })
    }

    /// The whole answer.
    pub fn into_response(self) -> Response<Body> {
        let body = json!({
            "error": {
                "code": format!("{BASE}.{}", self.message_id),
                "message": self.message,
                "@Message.ExtendedInfo": [self.message()],
            }
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"Billet Lab BMC\""),
            );
        }
        if let Some(allow) = self.allow.and_then(|a| HeaderValue::from_str(&a).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        response
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
