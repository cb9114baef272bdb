//! Answers that are not what was asked for: a page for people, problem+json (RFC 9457) for programs.
//! What we were doing goes to the log with its causes; the reader gets what to do next.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::page::{Frame, render};
use crate::source::SourceError;

/// Why a page could not be shown.
#[derive(Debug)]
pub(crate) enum PageError {
    /// There is no such thing; what was looked for, and where else to look.
    NotFound { what: String, hint: String },
    /// The address asks for something that makes no sense.
    BadRequest(String),
    /// Stored data cannot be read now.
    Unavailable,
}

/// The page of an error.
#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    heading: String,
    hint: String,
}

impl From<SourceError> for PageError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Question(text) => Self::BadRequest(text),
            SourceError::Unavailable(_) => {
                log_chain(&error);
                Self::Unavailable
            }
        }
    }
}

fn log_chain(error: &SourceError) {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    tracing::error!(error = text, "a page could not be answered");
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, heading, hint) = match self {
            Self::NotFound { what, hint } => (StatusCode::NOT_FOUND, what, hint),
            Self::BadRequest(text) => {
                (StatusCode::BAD_REQUEST, "This address asks for something else".to_owned(), text)
            }
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Stored data cannot be read now".to_owned(),
                "The daemon's log says why. Receiving goes on as long as the disk takes data; try again in a moment."
                    .to_owned(),
            ),
        };
        let mut response = render(&ErrorPage { frame: Frame::new(&heading, ""), heading, hint });
        *response.status_mut() = status;
        response
    }
}

/// An API error.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    /// Makes a problem; the detail is for the person who wrote the request.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Question(text) => Self::new(StatusCode::BAD_REQUEST, text),
            SourceError::Unavailable(_) => {
                log_chain(&error);
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stored data cannot be read now")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, axum::Json(body)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
